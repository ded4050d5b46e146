"""Has a version tried out by `service.management.probe`, in a process of its own, and waits for the verdict."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from service.management.errors import RefusedError
from service.management.probe import Job, Verdict
from service.model.errors import Reason
from service.model.private_file import forget_dead_folders
from service.model.store import StoredVersion
from service.settings import Settings, parse_providers

_MOST_VERDICT_BYTES = 2**16
_ROOT = Path(__file__).parents[2]


async def try_version(version: StoredVersion, settings: Settings) -> str:
    """The SHA-256 of the manifest of a version that may serve; raises RefusedError."""
    job = Job(
        version.name,
        version.version,
        str(version.folder.absolute()),
        parse_providers(settings.execution_providers),
        settings.num_threads,
        settings.verify_certificates,
        None if settings.trusted_keys is None else str(settings.trusted_keys.absolute()),
        settings.probe_memory_mb,
        settings.probe_timeout_s,
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # nothing that lies in the working folder is code of ours
        "-m",
        "service.management.probe",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=_environment(),
        limit=_MOST_VERDICT_BYTES,
    )
    try:
        async with asyncio.timeout(settings.probe_timeout_s):
            output, _ = await process.communicate(json.dumps(asdict(job)).encode() + b"\n")
    except TimeoutError:
        raise RefusedError(Reason.TIMEOUT, f"no verdict within {settings.probe_timeout_s:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        if process.returncode != 0:
            await asyncio.to_thread(forget_dead_folders)
    return _read(output, process.returncode)


def _read(output: bytes, status: int | None) -> str:
    try:
        verdict = Verdict(**json.loads(output))
    except (ValueError, TypeError):
        if status in (-signal.SIGALRM, -signal.SIGXCPU):
            raise RefusedError(Reason.TIMEOUT, "the process used up its time") from None
        raise RefusedError(Reason.CRASH, f"the process ended with status {status}") from None
    if verdict.reason:
        raise RefusedError(Reason(verdict.reason), verdict.particulars)
    return verdict.manifest_sha256


def _environment() -> dict[str, str]:
    """This process's, without what concerns the server, and with this very package."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STEPSTREAM_")}
    path = os.pathsep.join(filter(None, (str(_ROOT), kept.get("PYTHONPATH"))))
    return kept | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "MALLOC_ARENA_MAX": "2"}
