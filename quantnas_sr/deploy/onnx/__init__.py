"""Exported ONNX files: their format, the sessions that run them, processors on which their integers overflow."""
