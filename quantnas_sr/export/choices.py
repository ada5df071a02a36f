"""The words that options of an export may have. This file imports nothing, so that the help text is cheap."""

ADQ_FORMS = ("dynamic", "static")
WEIGHTS_FORMATS = ("int8", "int4")
OUTPUTS = ("float", "int8")
