"""Where measurements are made."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from service.model.certificate import Environment
from service.model.onnx_model import OnnxModel


def environment(model: OnnxModel) -> Environment:
    """Where measurements of a model are made."""
    return Environment(
        stepstream=version("stepstream"),
        python=platform.python_version(),
        torch=version("torch"),
        onnx=version("onnx"),
        onnxruntime=_onnxruntime_version(),
        execution_provider=model.execution_provider,
        processor=processor_name(),
    )


def _onnxruntime_version() -> str:
    """The package has another name with CUDA."""
    try:
        return version("onnxruntime")
    except PackageNotFoundError:
        return version("onnxruntime-gpu")


def processor_name() -> str:
    """The processor's name, where Linux tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
