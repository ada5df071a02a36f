"""What processes that train together tell each other. Without such processes nothing happens."""

from typing import Any, List

from torch import Tensor, distributed


def processes() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def take_from_first_process(*tensors: Tensor) -> None:
    """Overwrite tensors with those of the first process. All processes must call this."""
    if processes() > 1:
        for tensor in tensors:
            distributed.broadcast(tensor, src=0)


def average_over_processes(*tensors: Tensor) -> None:
    """Overwrite tensors with their mean over all processes. All processes must call this."""
    if processes() > 1:
        for tensor in tensors:
            distributed.all_reduce(tensor)
            tensor.div_(processes())


def true_in_all_processes(flag: Tensor) -> bool:
    """Whether a condition (a scalar of type bool) holds in every process. All processes must call this."""
    if processes() > 1:
        flag = flag.int()
        distributed.all_reduce(flag, op=distributed.ReduceOp.MIN)
    return bool(flag)


def of_all_processes(value: Any) -> List[Any]:
    """The values of all processes, by rank: plain data and tensors. All processes must call this."""
    values = [value] * processes()
    if processes() > 1:
        distributed.all_gather_object(values, value)
    return values
