"""Encoder/decoder pairs that others exported to ONNX, made into versions that are served as they are."""
