"""Questions about pictures: an image model in TensorFlow, a language model in PyTorch."""
