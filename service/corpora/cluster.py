"""Where the workers run: Ray on this machine, which nobody else can reach, or a cluster that is there already."""

from __future__ import annotations

import logging
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from service.corpora.address import require_listening
from service.corpora.errors import CorpusError
from service.corpora.job import Job
from service.corpora.shards import Record, Shard

STDERR = 2
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_LOG_LEVEL": "CRITICAL",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}
"""Ray's environment: it tells its makers nothing, and the terminal only what is asked for."""
LOOPBACK_ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Ray then takes 127.0.0.1 for this node's address, and each of its processes listens there alone."""
OBJECT_STORE_BYTES = 100 * 2**20
"""Only the places of shards and their records go through it."""
SHARDS_A_WORKER = 2
"""Of which one is translated, so that the next one waits at the worker."""


@dataclass(frozen=True)
class Workers:
    """So many processes, each with num_cpus processors to itself; number 0: as many as there is room for."""

    number: int = 0
    num_cpus: int = 1


class Cluster:
    """A connection to Ray; made by `running`."""

    def __init__(self, ray: Any, workers: Workers) -> None:
        self._ray = ray
        self._workers = workers

    def translate(self, shards: Sequence[Shard], job: Job) -> Iterator[Record]:
        """The record of each shard as soon as it is written, in whatever order. Raises CorpusError."""
        import ray.data

        from service.corpora.worker import ShardWorker

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        places = [{"shard": shard.to_json()} for shard in shards]
        records = ray.data.from_items(places, override_num_blocks=len(places)).map_batches(
            ShardWorker,
            batch_size=1,
            fn_constructor_args=(job,),
            compute=ray.data.ActorPoolStrategy(
                size=min(self._number, len(places)), max_tasks_in_flight_per_actor=SHARDS_A_WORKER
            ),
            num_cpus=self._workers.num_cpus,
        )
        try:
            for batch in records.iter_batches(batch_size=None, prefetch_batches=0):
                for record, problem in zip(batch["record"], batch["problem"], strict=True):
                    if problem:
                        raise CorpusError(problem)
                    yield Record.from_json(record)
        except ray.exceptions.RayError as error:
            raise CorpusError(f"the workers failed: {str(error).strip().splitlines()[-1]}") from error

    @property
    def _number(self) -> int:
        room = int(self._ray.cluster_resources().get("CPU", 0)) // self._workers.num_cpus
        number = self._workers.number or room
        if not room:
            raise CorpusError(f"no node of the cluster has room for a worker of {self._workers.num_cpus} processors")
        return number


@contextmanager
def running(address: str | None, workers: Workers, *, num_cpus: int) -> Iterator[Cluster]:
    """Ray on this machine with num_cpus processors, all of which ends with the block; or the cluster at an address.
    Raises CorpusError."""
    os.environ.update(QUIET)
    if address is None:
        os.environ.update(LOOPBACK_ALONE | _own_token())
    else:
        require_listening(address)
    import ray

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    with ExitStack() as ending:
        scratch = ending.enter_context(tempfile.TemporaryDirectory(prefix="stepstream-", ignore_cleanup_errors=True))
        ending.callback(ray.shutdown)
        try:
            with _silenced():
                if address is None:
                    _start(ray, num_cpus, scratch)
                else:
                    ray.init(address, configure_logging=False, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise CorpusError(f"Ray cannot be reached at {address}: {error}" if address else f"Ray: {error}") from error
        yield Cluster(ray, workers)


def _own_token() -> dict[str, str]:
    """Ray's environment in which nobody else of this machine is let in, whatever token the user has for other clusters:
    without it, Ray takes one from the user's home, if it lies there."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _start(ray: Any, num_cpus: int, scratch: str) -> None:
    """Ray's own processes on this machine, with their files in a folder."""
    ray.init(
        "local",
        num_cpus=num_cpus,
        num_gpus=0,
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        configure_logging=False,
        log_to_driver=False,
        _temp_dir=scratch,
    )


@contextmanager
def _silenced() -> Iterator[None]:
    """Without stderr, where Ray writes a line whatever its level is."""
    sys.stderr.flush()
    kept, null = os.dup(STDERR), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, STDERR)
        yield
    finally:
        os.dup2(kept, STDERR)
        os.close(kept)
        os.close(null)
