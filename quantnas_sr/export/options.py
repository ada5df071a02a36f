"""The options of an export, checked when they are given."""

import os
from dataclasses import dataclass, fields
from typing import Any, Dict, Optional, Tuple, Union

from quantnas_sr.deploy.onnx.onnx_format import LARGEST_SIDE
from quantnas_sr.errors import OptionError, unknown
from quantnas_sr.export.choices import ADQ_FORMS, IO_KINDS, OPSETS, OUTPUTS, WEIGHTS_FORMATS
from quantnas_sr.pth import PARAM_KEYS
from quantnas_sr.values.arguments import check_word, parse_size

#: The first version of the operators that has 4-bit integers.
_INT4 = 21
_Folder = Union[str, os.PathLike]
#: By option, the noun for its values in messages, and the allowed values.
_WORDS: Dict[str, Tuple[str, Tuple[str, ...]]] = {
    "adq": ("form", ADQ_FORMS),
    "weights_format": ("format", WEIGHTS_FORMATS),
    "outputs": ("form", OUTPUTS),
    "io": ("kind", IO_KINDS),
}


def check_path(value: object, what: str, where: str) -> None:
    """Check that a value can be a path.

    Args:
        value: what was given.
        what: what it should be the path of, for the message.
        where: name of the option.

    Raises:
        OptionError: it cannot.
    """
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise OptionError(f"{where}: {value!r} is not the path of {what}")


@dataclass(frozen=True)
class ExportOptions:
    """How a trained network is exported.

    Args:
        adq: ``static`` replaces the standard deviation in each ADQ block by a constant.
        calibration: folder of low-resolution images that ``adq="static"`` and ``outputs="int8"`` are measured on;
            without it the first takes the running statistics of the training, and the second synthetic images.
        weights_format: ``int8``, or ``int4`` to pack two weights into a byte in layers of at most 4 bits.
        quantized: False exports the float baseline: the weights before rounding, no quantizers.
        param_key: ``params`` or ``params_ema`` of the checkpoint; by default the better, see `pth.key_of`.
        images: folder of low-resolution images to check the file with; by default those of ``calibration``, or
            synthetic ones.
        command: the command line, which is kept in the file's metadata.
        outputs: ``int8`` rounds those convolution outputs to 8 bits that the network leaves in floating point.
        io: ``uint8`` takes and gives images of bytes in place of float32 in 0..1.
        static: the only size of image that the file takes, such as ``320x180`` (width and height); None takes all.
        symmetric: True writes activations as signed integers with the zero point 0, as TensorRT wants them.
        opset: version of the ONNX operators, 13 to 21.

    Raises:
        OptionError: a value is not allowed, or options contradict each other.
    """

    adq: str = "dynamic"
    calibration: Optional[_Folder] = None
    weights_format: str = "int8"
    quantized: bool = True
    param_key: Optional[str] = None
    images: Optional[_Folder] = None
    command: str = ""
    outputs: str = "float"
    io: str = "float"
    static: Optional[str] = None
    symmetric: bool = False
    opset: int = OPSETS[-1]

    def __post_init__(self) -> None:
        for name, (what, words) in _WORDS.items():
            check_word(getattr(self, name), words, what, name)
        for name in ("quantized", "symmetric"):
            if not isinstance(getattr(self, name), bool):
                raise OptionError(f"{name}: {getattr(self, name)!r} is neither True nor False")
        for name in ("calibration", "images"):
            if getattr(self, name) is not None:
                check_path(getattr(self, name), "a folder", name)
        if self.param_key is not None:
            check_word(self.param_key, PARAM_KEYS, "key", "param_key")
        if not isinstance(self.command, str):
            raise OptionError(f"command: {self.command!r} is not text")
        if self.static is not None and max(parse_size(self.static, "static")) > LARGEST_SIDE:
            raise OptionError(f"static: {self.static} is too large. Allowed: sides of at most {LARGEST_SIDE}")
        if type(self.opset) is not int or self.opset not in OPSETS:
            raise OptionError(f"opset: {self.opset!r} is not a version. Allowed: {OPSETS[0]} to {OPSETS[-1]}")
        self._check_combination()

    def _check_combination(self) -> None:
        integers = {"outputs": "int8", "weights_format": "int4", "symmetric": True}
        for name, value in integers.items():
            if getattr(self, name) == value and not self.quantized:
                raise OptionError(f"{name}: {value} is not for the float baseline")
        if self.symmetric and self.io == "uint8":
            raise OptionError("io: uint8 is not for symmetric files, whose integers are signed")
        if self.weights_format == "int4" and self.opset < _INT4:
            raise OptionError(f"opset: {self.opset} has no 4-bit integers. Allowed with int4: {_INT4}")
        if self.calibration and self.adq != "static" and self.outputs != "int8":
            raise OptionError("calibration: is for `--adq static` and `--outputs int8` only")

    @property
    def size(self) -> Optional[Tuple[int, int]]:
        """Height and width of ``static``."""
        return parse_size(self.static)[::-1] if self.static else None

    @classmethod
    def of(cls, given: Dict[str, Any]) -> "ExportOptions":
        """From keywords.

        Raises:
            OptionError: as above, or a keyword is unknown.
        """
        names = [field.name for field in fields(cls)]
        for name in given:
            if name not in names:
                raise OptionError(unknown("option", name, names, where="export"))
        return cls(**given)
