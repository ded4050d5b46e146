"""Training, export and verification of translation models: everything that needs torch or onnx."""
