"""The allowed values of export options. This file imports nothing, so that the help text is fast."""

ADQ_FORMS = ("dynamic", "static")
WEIGHTS_FORMATS = ("int8", "int4")
OUTPUTS = ("float", "int8")
IO_KINDS = ("float", "uint8")
#: Versions of the ONNX operators that a file can have; the last one is the default, the first has scales by channel.
OPSETS = range(13, 22)
