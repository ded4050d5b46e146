"""`make rolling STREAMS=n`: replicas behind the shipped Envoy are replaced one after the other, then killed, while
clients stream; every stream is compared, byte for byte, with what an idle server says."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hostile.checks import print_checks, table
from hostile.envoy import NoEnvoyError, running_envoy
from hostile.report import REPORTS, heading
from hostile.rolling.load import MODEL, all_answers
from hostile.rolling.playing import Played, Stage, kill, roll
from hostile.rolling.replicas import running_replicas

STORE, COMPOSE = Path("model_store"), Path("docker-compose.yml")
NUM_KILLS = 6


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hostile.rolling", description=__doc__)
    parser.add_argument("--streams", type=int, default=10_000, help="while replicas are replaced (default: 10000)")
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument(
        "--compose", type=Path, default=COMPOSE, help=f"file that says how they end (default: {COMPOSE})"
    )
    parser.add_argument("--reports", type=Path, default=REPORTS, help=f"folder (default: {REPORTS})")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        try:
            played = play(Path(temporary), options.streams, options.compose, num_replicas=options.replicas)
        except NoEnvoyError as error:
            print(error, file=sys.stderr)
            return 2
    (options.reports / "rolling.md").write_text(_report(played), encoding="utf-8")
    for one in played:
        print(one.figures)
    return print_checks([check for one in played for check in one.checks])


def play(
    folder: Path, num_streams: int, compose: Path = COMPOSE, *, num_replicas: int = 2, num_kills: int = NUM_KILLS
) -> list[Played]:
    """All three; a tenth of the streams, and 100 for each kill at least, meet kills. Raises NoEnvoyError."""
    num_killed = max(num_streams // 10, 100 * num_kills)
    with staged(folder, compose, num_replicas) as stage:

        async def all_plays() -> list[Played]:
            return [
                await roll(stage, num_streams),
                await kill(stage, num_killed, num_kills, goes_on=False),
                await kill(stage, num_killed, num_kills, goes_on=True),
            ]

        return asyncio.run(all_plays())


@contextmanager
def staged(folder: Path, compose: Path, num_replicas: int) -> Iterator[Stage]:
    """Replicas of one shipped model, which end as the compose file says, and Envoy in front of them; their files are in
    the folder. Raises NoEnvoyError."""
    shutil.copytree(STORE / MODEL, folder / "store" / MODEL)
    with running_replicas(num_replicas, folder / "store", folder, compose) as replicas:
        wanted = asyncio.run(all_answers(replicas[0].address))
        addresses = [replica.address for replica in replicas]
        with running_envoy(addresses, folder) as envoy:
            envoy.wait_until_healthy(*addresses)
            yield Stage(envoy, replicas, wanted)


def _report(played: Sequence[Played]) -> str:
    parts = [f"## {one.title}\n\n{one.figures}.\n\n{table(one.checks)}" for one in played]
    return "\n".join([heading("Rolling update and killed replicas, behind Envoy"), *parts])


if __name__ == "__main__":
    raise SystemExit(main())
