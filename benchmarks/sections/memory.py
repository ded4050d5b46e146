"""The memory of a server after a load."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator
from pathlib import Path

from benchmarks import load, servers
from benchmarks.figures import at_most
from benchmarks.report import BASE, Bench, Table
from benchmarks.sections.serving import FIXED_LENGTH, NUM_CLIENTS
from service.client.server_process import server_process
from service.model.manifest import read_manifest

MB = 1e6
LOAD_S = 2.0


def measure(bench: Bench) -> Iterator[Table]:
    manifest = read_manifest(bench.base)
    model_mb = sum(manifest.files[name].size for name in (manifest.encoder, manifest.decoder_step)) / MB
    theirs_mb = (bench.base_in_ctranslate2 / "model.bin").stat().st_size / MB
    bound = 1.3 * model_mb + 120
    texts = load.Texts(manifest.name, bench.captions, FIXED_LENGTH)
    contenders = (
        ("ours", model_mb, servers.ours(bench.base)),
        ("CTranslate2", theirs_mb, servers.ctranslate2(bench, workers=2, threads=1)),
    )
    found: dict[str, list[tuple[float, float]]] = {name: [] for name, _, _ in contenders}
    for _ in range(bench.rounds):
        for name, _, server in contenders:
            found[name].append(_resident_mb(server, texts))
    rows = []
    for name, size, _ in contenders:
        idle, loaded = (statistics.median(each) for each in zip(*found[name], strict=True))
        goal = at_most(loaded, round(bound), " MB") if name == "ours" else ""
        rows.append((name, f"{size:.1f}", f"{idle:.0f}", f"{loaded:.0f}", goal))
    yield Table(
        f"Resident memory of a server of {BASE}, in MB, before and after {NUM_CLIENTS} clients streamed; to reach: "
        "1.3 x model + 120 MB",
        ("server", "model files", "before", "after the load", "to reach"),
        rows,
    )


def _resident_mb(server: servers.Server, texts: load.Texts) -> tuple[float, float]:
    """Before and after a load."""
    with server_process(server.command) as running:
        before = _resident_bytes(running.pid)
        asyncio.run(
            load.closed_loop(
                running.address,
                texts,
                load.stream,
                num_clients=NUM_CLIENTS,
                warm_up_s=LOAD_S / 2,
                measured_s=LOAD_S / 2,
            )
        )
        return before / MB, _resident_bytes(running.pid) / MB


def _resident_bytes(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
