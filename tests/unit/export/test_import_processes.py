"""An import's processes have only the libraries that they need: the one that waits is there while others are large."""

import subprocess
import sys

import pytest

LARGE = ("torch", "transformers", "onnx")


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        (("export.cli", "export.imports.publish"), (*LARGE, "onnxruntime", "tokenizers")),
        (("export.imports.sources",), (*LARGE, "onnxruntime")),
        (("export.imports.measure",), LARGE),
        (("export.version_files", "service.model.certificate", "service.model.onnx_model"), LARGE),
    ],
    ids=["waits", "reads sources", "measures", "replays"],
)
def test_a_process_does_without(modules, absent):
    program = f"import sys, {', '.join(modules)}; print(*(name for name in {absent} if name in sys.modules))"
    done = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
