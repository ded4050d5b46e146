"""Tries one version out: the whole of a process that may be killed, run out of memory, or crash.

`python -m service.management.probe` reads a job as a line of JSON and prints a verdict as another one, whatever
libraries would print. The first thing that it does is to limit itself. It knows neither gRPC nor the server.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import sys
from dataclasses import asdict, dataclass

from service.model.errors import ModelError, Reason

PRIORITY = 10
"""How much nicer than the server it is to others."""
CUDA = "CUDAExecutionProvider"
"""Maps more addresses than any limit of memory allows."""


@dataclass(frozen=True)
class Job:
    """A version, how it will be served, and what trying it out may take: timeout_s of time, of CPU time for each of
    num_threads, memory_mb MiB of addresses and of each file that it writes."""

    name: str
    version: int
    folder: str
    providers: list[tuple[str, dict[str, str]]]
    num_threads: int
    verify_certificates: bool
    trusted_keys: str | None
    memory_mb: int
    timeout_s: float


@dataclass(frozen=True)
class Verdict:
    """manifest_sha256 of a version that may serve; otherwise the reason and, for the log, the particulars."""

    manifest_sha256: str = ""
    reason: str = ""
    particulars: str = ""


def main() -> int:
    job = Job(**json.loads(sys.stdin.readline()))
    _limit(job)
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with os.fdopen(output, "w") as file:
        file.write(json.dumps(asdict(_try(job))) + "\n")
    return 0


def _limit(job: Job) -> None:
    os.nice(PRIORITY)
    seconds = math.ceil(job.timeout_s)
    signal.alarm(seconds + 1)  # also where the server that waits for the verdict is gone
    resource.setrlimit(resource.RLIMIT_CPU, (seconds * (job.num_threads + 1),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (job.memory_mb * 2**20,) * 2)
    if all(name != CUDA for name, _ in job.providers):
        resource.setrlimit(resource.RLIMIT_AS, (job.memory_mb * 2**20,) * 2)


def _try(job: Job) -> Verdict:
    from pathlib import Path

    from service.model.opening import Proof, open_version, try_out
    from service.model.store import StoredVersion

    keys = None if job.trusted_keys is None else Path(job.trusted_keys)
    try:
        opened = open_version(
            StoredVersion(job.name, job.version, Path(job.folder)),
            Proof(keys, job.verify_certificates),
            providers=[(name, options) for name, options in job.providers],
            num_threads=job.num_threads,
        )
        try_out(opened)
    except MemoryError:
        return Verdict(reason=Reason.MEMORY, particulars=f"more than {job.memory_mb} MiB are needed")
    except ModelError as error:
        return Verdict(reason=error.reason, particulars=str(error))
    except Exception as error:
        return Verdict(reason=Reason.INTERNAL, particulars=f"{type(error).__name__}: {error}")
    return Verdict(manifest_sha256=opened.manifest_sha256)


if __name__ == "__main__":
    raise SystemExit(main())
