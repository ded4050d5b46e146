"""A published model on disk, and the onnxruntime sessions that run it."""

import os

# What onnxruntime would tell its makers of models and machines (its wheels since 1.29), unless the operator wants that.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
