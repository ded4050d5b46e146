"""What is translated here, and with what, is nobody else's business."""

import os
import subprocess
import sys
from pathlib import Path

ENCODER = Path(__file__).parents[2] / "model_store" / "en-de-dot" / "1" / "encoder.onnx"
LOADED = "import sys, pathlib, service.model.session as session; session.Session(pathlib.Path(sys.argv[1]))"


def test_onnxruntime_leaves_no_trace_and_tells_nobody(tmp_path):
    """With telemetry it makes an identifier of the machine and a file of what is to be sent."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": ":".join(sys.path),
    }
    subprocess.run((sys.executable, "-B", "-c", LOADED, str(ENCODER)), env=environment, check=True)
    assert list(tmp_path.rglob("*")) == []
