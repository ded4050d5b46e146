"""Swaps two versions again and again under load, and says what became of every request.

`python -m tests.faults.swapping N` makes N swaps and prints the figures.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from service.pb import translation_pb2 as translation
from service.pb.translation_pb2_grpc import TranslationServiceStub
from tests.faults.versions import NAME, TEXTS, TIMEOUT_S, Managed, managed_server, put

NUM_CLIENTS = 4
NUM_WARM_SWAPS = 10
LABEL = "stable"


@dataclass
class Tally:
    """What became of the requests. wrong: streams that no one version gives."""

    num_by_version: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Swaps:
    """rss_before and rss_after in MiB, once warm and at the end, idle both times."""

    tally: Tally
    num_swaps: int
    seconds: float
    rss_before: float
    rss_after: float


def swap_under_load(folder: Path, num_swaps: int) -> Swaps:
    """Between versions 1 and 2, NUM_CLIENTS streaming meanwhile: half of them the newest version, half the label's."""
    store = folder / "store"
    (store / NAME).mkdir(parents=True)
    for version in (1, 2):
        put(store, version)
    with managed_server(store, "--model-control", "explicit", "--initial-models", f"{NAME}:1") as server:
        server.load(2)
        expected = {text: {version: _stream(server.translator, text, version) for version in (1, 2)} for text in TEXTS}
        assert all(both[1] != both[2] for both in expected.values())
        server.label(LABEL, 1)
        server.unload(2)
        _swap(server, NUM_WARM_SWAPS, expected, Tally())
        before = _resident_mib(server)
        started = time.monotonic()
        tally = Tally()
        _swap(server, num_swaps, expected, tally)
        return Swaps(tally, num_swaps, time.monotonic() - started, before, _resident_mib(server))


Expected = dict[str, dict[int, str]]


def _swap(server: Managed, num_swaps: int, expected: Expected, tally: Tally) -> None:
    stop = threading.Event()
    clients = [
        threading.Thread(target=_stream_on, args=(server.address, number, expected, tally, stop))
        for number in range(NUM_CLIENTS)
    ]
    for client in clients:
        client.start()
    try:
        for number in range(num_swaps):
            old, new = (1, 2) if number % 2 == 0 else (2, 1)
            server.load(new)
            server.label(LABEL, new)
            server.unload(old)
            while server.states()[old][0] != "UNLOADED":
                time.sleep(0.01)
    finally:
        stop.set()
        for client in clients:
            client.join()


def _stream_on(address: str, number: int, expected: Expected, tally: Tally, stop: threading.Event) -> None:
    label = LABEL if number % 2 else ""
    with grpc.insecure_channel(address) as channel:
        stub = TranslationServiceStub(channel)
        while not stop.is_set():
            for text in TEXTS:
                try:
                    version, deltas = _streamed(stub, text, label=label)
                except grpc.RpcError as error:
                    tally.failures.append(f"{error.code().name}: {error.details()}")
                    continue
                tally.num_by_version[version] += 1
                if deltas != expected[text][version]:
                    tally.wrong.append(f"version {version}: {deltas}")


def _stream(stub: TranslationServiceStub, text: str, version: int) -> str:
    return _streamed(stub, text, version=version)[1]


def _streamed(stub: TranslationServiceStub, text: str, *, version: int = 0, label: str = "") -> tuple[int, str]:
    """The version that the completion names, and the text of all steps, joined."""
    request = translation.StreamTranslateRequest(model=NAME, version=version, label=label, text=text)
    responses = list(stub.StreamTranslate(request, timeout=TIMEOUT_S))
    assert responses[-1].completion.text == "".join(response.step.text_delta for response in responses)
    return responses[-1].completion.version, responses[-1].completion.text


def _resident_mib(server: Managed) -> float:
    time.sleep(2.0)
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        swaps = swap_under_load(Path(folder), int(sys.argv[1]))
    tally = swaps.tally
    sys.stdout.write(
        f"{swaps.num_swaps} swaps in {swaps.seconds:.0f} s; streams by version {dict(tally.num_by_version)}, "
        f"{len(tally.failures)} failed, {len(tally.wrong)} of no one version; "
        f"resident {swaps.rss_before:.1f} MiB before, {swaps.rss_after:.1f} MiB after\n"
    )
    for line in (tally.failures + tally.wrong)[:10]:
        sys.stdout.write(f"{line}\n")
    return 1 if tally.failures or tally.wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
