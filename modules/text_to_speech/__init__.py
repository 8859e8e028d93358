"""Text to speech with a small ONNX model."""
