"""Runs ``.tflite`` files in LiteRT, on the CPU."""

import os
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy as np

from quantnas_sr.deploy.litert.tflite_format import metadata_of
from quantnas_sr.deploy.packages import import_litert
from quantnas_sr.deploy.session import Session, complaint
from quantnas_sr.errors import DataError
from quantnas_sr.system.cpus import available_cpus


class LiteRTSession(Session):
    """A file in LiteRT.

    Tensors of images are (N, H, W, C) in the file and (N, C, H, W) here.

    Args:
        path, threads, outputs, model: as of `opening.open_session`; by default all CPUs are used.
        xnnpack: whether XNNPACK computes what it can, as is LiteRT's default; else LiteRT's own kernels do.
    """

    def __init__(
        self,
        path: Path,
        threads: Optional[int],
        outputs: Tuple[str, ...],
        model: Optional[bytes],
        xnnpack: bool = True,
    ) -> None:
        litert = import_litert(f"{path}: a .tflite", "interpreter")
        resolvers = litert.OpResolverType
        resolver = resolvers.BUILTIN if xnnpack else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        content = path.read_bytes() if model is None else model

        def opened() -> Any:
            return litert.Interpreter(
                model_content=content,
                num_threads=threads or available_cpus(),
                experimental_op_resolver_type=resolver,
            )

        try:
            self._interpreter, self.metadata = opened(), metadata_of(content)
            (self._input,) = self._interpreter.get_input_details()
            self.pixels = np.dtype(self._input["dtype"])
        except Exception as error:
            raise DataError(f"{path}: LiteRT cannot read it ({complaint(error)})") from None
        if self.pixels not in (np.uint8, np.float32):
            raise DataError(f"{path}: was not written by quantnas export")
        self._path, self._outputs, self._opened = path, outputs, opened
        self._shape: Tuple[int, ...] = ()

    def __call__(self, x: np.ndarray) -> Dict[str, np.ndarray]:
        try:
            found = self._computed(x.transpose(0, 2, 3, 1))
        except (RuntimeError, ValueError) as error:
            raise DataError(f"{self._path}: LiteRT cannot run it ({complaint(error)})") from None
        return {name: made.transpose(0, 3, 1, 2) for name, made in zip(self._outputs, found)}

    def _computed(self, image: np.ndarray) -> List[np.ndarray]:
        interpreter, index = self._interpreter, self._input["index"]
        if self._shape != image.shape:
            interpreter.resize_tensor_input(index, image.shape)
            with _without_announcement():
                interpreter.allocate_tensors()
            self._shape = image.shape
        interpreter.set_tensor(index, image)
        interpreter.invoke()
        return [interpreter.get_tensor(made["index"]) for made in interpreter.get_output_details()]

    def free_memory(self) -> None:  # noqa: D102 (of Session)
        self._interpreter, self._shape = self._opened(), ()


@contextmanager
def _without_announcement() -> Iterator[None]:
    """Hide the line that LiteRT writes to standard error when a process uses XNNPACK for the first time."""
    global _announced
    if _announced:
        yield
        return
    _announced = True
    with ExitStack() as stack:
        with suppress(OSError):  # where there is no standard error
            kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
            for handle in (kept, nowhere):
                stack.callback(os.close, handle)
            os.dup2(nowhere, 2)
            stack.callback(os.dup2, kept, 2)
        yield


#: Whether this process has used LiteRT.
_announced = False
