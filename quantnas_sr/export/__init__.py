"""A trained network as an integer ONNX file, checked in every runtime."""
