"""Versions of what runs."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version


def package_version(package: str) -> str:
    """Empty where the package is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def build_versions() -> dict[str, str]:
    """By the names that they have as labels."""
    return {
        "version": package_version("stepstream"),
        "onnxruntime": package_version("onnxruntime") or package_version("onnxruntime-gpu"),
        "grpcio": package_version("grpcio"),
        "python": platform.python_version(),
    }
