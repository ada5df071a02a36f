"""Networks of spandrel, the library that recognises some forty architectures from their checkpoints."""

import importlib
import inspect
from typing import Any, Dict, Iterator, Mapping, Optional

from torch import Tensor, nn

from quantnas_sr.errors import MissingExtraError, OptionError, unknown
from quantnas_sr.registration import ARCH_REGISTRY


@ARCH_REGISTRY.register()
class SpandrelArch(nn.Module):
    """A network class of spandrel, built from the arguments that spandrel found in a checkpoint.

    The keys of its state dict are those of spandrel's class behind ``model.``.

    Args:
        model: name of the class, such as ``RRDBNet`` or ``SwinIR``.
        hyperparameters: its arguments.

    Raises:
        MissingExtraError: spandrel is not installed.
        OptionError: spandrel has no such class.
    """

    def __init__(self, model: str, hyperparameters: Optional[Mapping[str, Any]] = None) -> None:
        super().__init__()
        classes = model_classes()
        if model not in classes:
            raise OptionError(unknown("model", model, classes, where="SpandrelArch"))
        self.model = classes[model](**(hyperparameters or {}))

    @property
    def network(self) -> nn.Module:
        """The network of spandrel, as every class of this package that wraps one calls it."""
        return self.model

    def forward(self, x: Tensor) -> Tensor:
        """RGB in 0..1, (N, C, H, W) -> (N, C', s*H, s*W). Of several results the first is the image (MMRealSR)."""
        y = self.model(x)
        return y[0] if isinstance(y, tuple) else y


def model_classes() -> Dict[str, type]:
    """The classes of networks that spandrel has, by name.

    Raises:
        MissingExtraError: spandrel is not installed.
    """
    try:
        import spandrel
    except ImportError:
        raise MissingExtraError("SpandrelArch", "spandrel", "spandrel") from None
    return {cls.__name__: cls for support in spandrel.MAIN_REGISTRY for cls in _classes(support.architecture)}


def _classes(architecture: Any) -> Iterator[type]:
    module = importlib.import_module(type(architecture).__module__)
    if module.__name__.startswith("spandrel."):
        for name in getattr(module, "__all__", ()):
            found = getattr(module, name)
            if inspect.isclass(found) and issubclass(found, nn.Module):
                yield found
