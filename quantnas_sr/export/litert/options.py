"""The options of an export to a ``.tflite``."""

from dataclasses import fields, replace

from quantnas_sr.deploy.packages import import_litert
from quantnas_sr.errors import OptionError
from quantnas_sr.export.options import ExportOptions

#: Those that a ``.tflite`` has too.
_SHARED = ("quantized", "param_key", "images", "command")


def for_litert(options: ExportOptions) -> ExportOptions:
    """Check that LiteRT is there, and that all options are ones that a ``.tflite`` has; returns them.

    In integers its images are bytes anyway.

    Raises:
        OptionError: one is for ONNX files only.
        MissingExtraError: LiteRT is not installed, or cannot be imported.
    """
    options = replace(options, io="float") if options.quantized else options
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name not in _SHARED and value != field.default:
            raise OptionError(f"{field.name}: {value} is for .onnx files. Allowed for a .tflite: {', '.join(_SHARED)}")
    import_litert("a .tflite", "interpreter")
    return options
