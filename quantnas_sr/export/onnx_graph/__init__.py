"""The graph of a network: traced by PyTorch, rearranged, and written in the operators of ONNX."""
