"""Training states: loaded as data, and onto the CPU where there is no CUDA device."""

import functools
import types
from typing import Any, Callable, Dict, Iterator, Optional

import torch

from quantnas_sr.compat.replacing import alike, loaded_namespaces, rebind, replaced

LoadResumeState = Callable[[Dict[str, Any]], Optional[Dict[str, Any]]]

_NAME = "load_resume_state"


def resume_anywhere() -> None:
    """``load_resume_state`` asks for the current CUDA device and loads the training state onto it.

    ``python basicsr/train.py`` runs the file as ``__main__``, whose functions come to exist after its imports, and so
    after this package. Therefore this is called again when a run begins.
    """
    for original in set(_unpatched()):
        rebind(original, _patched(original))


def _unpatched() -> Iterator[LoadResumeState]:
    """The functions of this name in all loaded modules: BasicSR's own, that of a copy, of a script."""
    for namespace in loaded_namespaces():
        function = namespace.get(_NAME)
        if isinstance(function, types.FunctionType) and function.__globals__ is not globals():
            yield function


def _patched(original: LoadResumeState) -> LoadResumeState:
    @functools.wraps(original)
    def load_resume_state(opt: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        with replaced(original.__globals__, torch=_torch_that_resumes()):
            return original(opt)

    return load_resume_state


def _torch_that_resumes() -> types.ModuleType:
    """torch, whose ``load`` never runs the code that a file names (its own default since 2.6)."""
    if torch.cuda.is_available():
        return alike(torch, load=functools.partial(torch.load, weights_only=True))
    cuda = alike(torch.cuda, current_device=lambda: "cpu")
    return alike(torch, cuda=cuda, load=_load_to_cpu)


def _load_to_cpu(path: str, map_location: Any = None, **kwargs: Any) -> Any:
    return torch.load(path, map_location="cpu", **{"weights_only": True, **kwargs})
