"""The translation service: numpy, onnxruntime and gRPC; never torch, never onnx."""
