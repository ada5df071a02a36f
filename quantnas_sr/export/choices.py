"""The allowed values of export options. This file imports nothing, so that the help text is fast."""

ADQ_FORMS = ("dynamic", "static")
WEIGHTS_FORMATS = ("int8", "int4")
OUTPUTS = ("float", "int8")
