"""A published model on disk, and the onnxruntime sessions that run it."""
