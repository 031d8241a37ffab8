"""The encoder, on PyTorch or ONNX Runtime."""
