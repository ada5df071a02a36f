"""The options of an export to a ``.tflite``."""

from dataclasses import fields

from quantnas_sr.deploy.packages import import_litert
from quantnas_sr.errors import OptionError
from quantnas_sr.export.options import ExportOptions

#: Those that a ``.tflite`` has too.
_SHARED = ("quantized", "param_key", "images", "command")


def check_for_litert(options: ExportOptions) -> None:
    """Check that LiteRT is there, and that all options are ones that a ``.tflite`` has.

    Raises:
        OptionError: one is for ONNX files only.
        MissingExtraError: LiteRT is not installed, or cannot be imported.
    """
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name not in _SHARED and value != field.default:
            raise OptionError(f"{field.name}: {value} is for .onnx files. Allowed for a .tflite: {', '.join(_SHARED)}")
    import_litert("a .tflite", "interpreter")
