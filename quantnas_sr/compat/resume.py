"""Training states: loaded as data, onto the CPU where there is no CUDA device, and by each process as its own."""

import functools
import types
from typing import Any, Callable, Dict, Iterator, Mapping, Optional

import torch

from quantnas_sr.compat.replacing import alike, loaded_namespaces, rebind, replaced

LoadResumeState = Callable[[Dict[str, Any]], Optional[Dict[str, Any]]]

_NAME = "load_resume_state"
#: The key of a training state under which there is, by rank, what a process has in the place of the first one's.
PROCESSES = "processes"
#: What a process must not take from another one: it would draw the same numbers.
_PRIVATE = ("random", "noise")


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
            state = original(opt)
        return None if state is None else of_process(state, opt.get("rank", 0))

    return load_resume_state


def of_process(state: Mapping[str, Any], rank: int) -> Dict[str, Any]:
    """A training state as one process goes on from it.

    >>> saved = {"iter": 2, "random": 1, "processes": [{}, {"random": 5}]}
    >>> [of_process(saved, rank).get("random") for rank in range(3)]
    [1, 5, None]
    """
    processes = state.get(PROCESSES, ())
    if rank < len(processes):
        return {**state, **processes[rank]}
    return {key: value for key, value in state.items() if rank == 0 or key not in _PRIVATE}


def _torch_that_resumes() -> types.ModuleType:
    """torch, whose ``load`` never runs the code that a file names (its own default since 2.6)."""
    if torch.cuda.is_available():
        return alike(torch, load=functools.partial(torch.load, weights_only=True))
    cuda = alike(torch.cuda, current_device=lambda: "cpu")
    return alike(torch, cuda=cuda, load=_load_to_cpu)


def _load_to_cpu(path: str, map_location: Any = None, **kwargs: Any) -> Any:
    return torch.load(path, map_location="cpu", **{"weights_only": True, **kwargs})
