"""Starting, refusing to start, and stopping, as an operator sees it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import onnxruntime
import pytest

from service.client.client import Client
from service.client.server_process import SERVE_COMMAND, running_server, server_process
from tests.faults.watched import copy_model


def serve(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run((*SERVE_COMMAND, *arguments), capture_output=True, text=True, timeout=60, check=False)


def assert_refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 1
    line = [line for line in result.stderr.splitlines() if not line.startswith("{")]
    assert len(line) == 1, result.stderr
    for word in words:
        assert word in line[0]


@pytest.mark.fault(50)
@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="CUDA is here, so it is not refused"
)
@pytest.mark.parametrize("providers", ["cuda", "cuda,cpu", "cuda:device_id=1,cpu"])
def test_cuda_where_there_is_none_is_refused_with_the_reason(shipped_store: Path, providers: str) -> None:
    """CUDA is asked for and is not there: the server does not start, whatever comes after CUDA in the list."""
    result = serve("--model-store", str(shipped_store), "--execution-providers", providers)
    assert_refused(result, "CUDAExecutionProvider")


def test_a_store_without_a_model_is_refused(tmp_path: Path) -> None:
    assert_refused(serve("--model-store", str(tmp_path)), "no model")
    assert_refused(serve("--model-store", str(tmp_path / "missing")), "no folder")


def copy_of(store: Path, folder: Path) -> Path:
    shutil.copytree(store / "en-de-transformer", folder / "en-de-transformer")
    return folder / "en-de-transformer" / "1"


def test_a_damaged_version_is_refused_and_named(shipped_store: Path, tmp_path: Path) -> None:
    version = copy_of(shipped_store, tmp_path)
    graph = bytearray((version / "decoder_step.onnx").read_bytes())
    graph[len(graph) // 2] ^= 1
    (version / "decoder_step.onnx").write_bytes(graph)
    assert_refused(serve("--model-store", str(tmp_path)), "decoder_step.onnx", "SHA-256")


def test_a_version_that_does_not_compute_what_its_certificate_says_is_refused(
    shipped_store: Path, tmp_path: Path
) -> None:
    import hashlib

    version = copy_of(shipped_store, tmp_path)
    certificate = json.loads((version / "certificate.json").read_text())
    golden = certificate["golden"][0]
    golden["target_ids"][0] += 1
    content = json.dumps(certificate).encode()
    (version / "certificate.json").write_bytes(content)
    manifest = json.loads((version / "manifest.json").read_text())
    manifest["files"]["certificate.json"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    (version / "manifest.json").write_text(json.dumps(manifest))
    assert_refused(serve("--model-store", str(tmp_path)), "golden")
    with running_server((*SERVE_COMMAND, "--model-store", str(tmp_path), "--no-verify-certificates")) as address:
        assert address


def test_a_port_that_is_taken_is_refused(shipped_store: Path, shipped_server: str) -> None:
    port = shipped_server.rpartition(":")[2]
    result = serve("--model-store", str(shipped_store), "--port", port)
    assert_refused(result, "cannot listen", port)


def start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    command: Sequence[str] = (*SERVE_COMMAND, *arguments)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().split()[-1]


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGINT])
def test_a_stopping_server_finishes_what_runs_and_exits_with_0(shipped_store: Path, signal_: signal.Signals) -> None:
    process, address = start("--model-store", str(shipped_store))
    with Client(address) as client:
        stream = client.stream("A man in a blue shirt is standing on a ladder.", model="en-de-transformer")
        next(stream)
        process.send_signal(signal_)
        assert list(stream)
    assert process.wait(30) == 0
    assert process.stdout is not None
    process.stdout.close()


def test_readiness_liveness_and_metrics_are_told_over_http(shipped_store: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    process, address = start("--model-store", str(shipped_store), "--metrics-port", str(port))
    base = f"http://127.0.0.1:{port}"
    try:
        with Client(address) as client:
            client.translate(["Two dogs play."], model="en-de-general")
        assert urllib.request.urlopen(f"{base}/readyz").status == 200
        assert urllib.request.urlopen(f"{base}/livez").status == 200
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(f"{base}/other")
        raised.value.close()
        deadline = time.monotonic() + 5
        wanted = 'stepstream_requests_total{code="OK",method="Translate"} 1.0'
        while wanted not in (metrics := urllib.request.urlopen(f"{base}/metrics").read().decode()):
            assert time.monotonic() < deadline, metrics
            time.sleep(0.05)
        assert 'stepstream_slots_in_use{model="en-de-general",version="1"} 0.0' in metrics
    finally:
        process.terminate()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux's threads have a niceness of their own")
def test_engines_and_no_other_threads_are_nicer(tmp_path: Path) -> None:
    options = ("--model-store", str(copy_model(tmp_path)), "--num-workers", "2", "--engine-niceness", "3")
    with server_process((*SERVE_COMMAND, *options)) as server:
        own = os.getpriority(os.PRIO_PROCESS, server.pid)
        threads = [int(thread.name) for thread in Path(f"/proc/{server.pid}/task").iterdir()]
        above = [os.getpriority(os.PRIO_PROCESS, thread) - own for thread in threads]
    assert {niceness: above.count(niceness) for niceness in set(above)} == {0: len(threads) - 2, 3: 2}


def test_serving_imports_neither_torch_nor_onnx(python: str) -> None:
    code = (
        "import sys, service.server, service.client.client; "
        "print(sorted({'torch', 'onnx', 'export'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": "."}
    )
    assert result.stdout.strip() == "[]"
