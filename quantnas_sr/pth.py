"""The reader and writer of checkpoints. A checkpoint is data: tensors and plain values are read, code never runs."""

import io
import json
import os
import re
import warnings
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple, Union

import torch
from torch import Tensor, nn

from quantnas_sr.containers import check_container
from quantnas_sr.errors import CheckpointError, QuantNASError
from quantnas_sr.system.digest import digest_of
from quantnas_sr.system.files import written_aside
from quantnas_sr.values.kinds import shown

#: Where a state dict of this package says what its network is built from: JSON as bytes. The key is PyTorch's
#: (`torch.nn.Module.get_extra_state`), so other people's state dicts have it too, with other things in it.
EXTRA_STATE = "_extra_state"
#: Keys under which BasicSR saves a state dict, in the order in which they are preferred.
PARAM_KEYS = ("params_ema", "params")
#: The key beside them under which a checkpoint of ours has the digest of all others. Other readers ask for theirs.
DIGEST = "quantnas_digest"
#: The key beside them that says which of `PARAM_KEYS` was better at the end of the training.
BETTER = "quantnas_better"
_REFUSED = re.compile(r"GLOBAL ([\w.]+)")
#: Bytes of what a state dict says of its network.
_LONGEST_DESCRIPTION = 2**22


def read_pth(path: Union[str, Path]) -> Any:
    """What ``torch.save`` wrote to a file, with all tensors on the CPU, and without its digest.

    Raises:
        CheckpointError: the file cannot be read, holds anything but tensors and plain data, or is not what was written.
    """
    return read_with_digest(path)[0]


def read_with_digest(path: Union[str, Path]) -> Tuple[Any, Optional[str]]:
    """As `read_pth`, and the digest, which is that of the content; None in a file without one."""
    content = _read(path)
    digest = content.pop(DIGEST, None) if isinstance(content, dict) else None
    if digest is not None and digest != digest_of(content):
        raise CheckpointError(f"{path}: the checkpoint is damaged: its content does not have its digest")
    return content, digest


def write_pth(content: Mapping[str, Any], path: Union[str, Path]) -> str:
    """Write a checkpoint, and read it back. Returns its digest.

    Args:
        content: tensors and plain data by key.
        path: a file aside, which takes the place of another one only when this has returned.

    Raises:
        OSError: the file cannot be written; the disk may be full.
        CheckpointError: what is read back is not what was written.
    """
    digest, buffer = digest_of(content), io.BytesIO()
    torch.save({**content, DIGEST: digest}, buffer)
    with open(path, "wb") as file:
        file.write(buffer.getbuffer())
        file.flush()
        os.fsync(file.fileno())
    if Path(path).read_bytes() != buffer.getbuffer():
        raise CheckpointError(f"{path}: the checkpoint is not what was written")
    return digest


def _read(path: Union[str, Path]) -> Any:
    try:
        check_container(Path(path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's thoughts about a file that is no checkpoint
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path}: the checkpoint cannot be read ({error.strerror or error})") from None
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except Exception as error:
        refused = _REFUSED.search(str(error))
        why = f": it holds {refused[1]}, and only tensors and plain data are loaded" if refused else ""
        raise CheckpointError(f"{path}: not a checkpoint ({type(error).__name__}){why}") from None


def key_of(checkpoint: Any, param_key: Optional[str] = None) -> str:
    """The key of a checkpoint under which its state dict is looked for.

    Args:
        checkpoint: what `read_pth` returned.
        param_key: ``params`` or ``params_ema``; by default the one that the checkpoint calls better, otherwise the
            moving average where there is one. A checkpoint without moving average gives its ``params`` instead, as
            BasicSR does.
    """
    found = [key for key in PARAM_KEYS if isinstance(checkpoint, dict) and key in checkpoint]
    better = checkpoint.get(BETTER) if found else None
    wanted = param_key or (better if better in found else next(iter(found), "params"))
    return "params" if wanted == "params_ema" and wanted not in found else wanted


def mark_better(path: Union[str, Path], key: str) -> None:
    """Let a checkpoint say which of its state dicts is the better one.

    Args:
        path: of a checkpoint that `write_pth` wrote.
        key: one of `PARAM_KEYS`.

    Raises:
        CheckpointError: it cannot be read, or not be written; it is as it was.
    """
    content = read_pth(path)
    try:
        with written_aside(Path(path)) as aside:
            write_pth({**content, BETTER: key}, aside)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror or error}") from None


def read_state(path: Union[str, Path], param_key: Optional[str] = None) -> Dict[str, Tensor]:
    """The state dict of a network that says there what it is built from, out of a checkpoint that BasicSR saved.

    Args:
        path: the file.
        param_key: as of `key_of`.

    Raises:
        CheckpointError: the file cannot be read, or has no such state dict under that key.
    """
    checkpoint = read_pth(path)
    key = key_of(checkpoint, param_key)
    state = checkpoint.get(key) if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict) or EXTRA_STATE not in state:
        raise CheckpointError(
            f"{path}: carries no genotype under {key!r}, nor the options of a QuantizedArch. Allowed: the checkpoint "
            "of a trained network of this package"
        )
    return state


def check_state(state: Mapping[Any, Any], path: Union[str, Path]) -> None:
    """Raise a CheckpointError that names ``path`` unless a state dict holds tensors of numbers by name.

    A tensor may say that it is larger than what the file has for it, and one without values or in a special layout
    cannot be looked at.
    """
    for name, tensor in state.items():
        if not isinstance(name, str):
            raise CheckpointError(f"{path}: {shown(name)} is not the name of a tensor")
        if not isinstance(tensor, Tensor):
            raise CheckpointError(f"{path}: {shown(name)} is not a tensor but {shown(type(tensor).__name__)}")
        is_plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
        if not is_plain or tensor.is_complex() or tensor.is_nested:
            raise CheckpointError(f"{path}: {shown(name)} is not a dense tensor of real numbers")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise CheckpointError(f"{path}: {shown(name)} has {tensor.numel()} values, more than the file")


def fill(network: nn.Module, state: Mapping[str, Any], what: str, first: bool = False) -> None:
    """Load a state dict into a network, strictly.

    Args:
        network: of any class.
        state: for all of it.
        what: where it comes from, and that it does not fit.
        first: name the first of several differences, not the last.

    Raises:
        CheckpointError: it does not fit; one line that begins with ``what``.
    """
    try:
        network.load_state_dict(dict(state))
    except QuantNASError as error:
        raise CheckpointError(f"{what}: {error}") from None
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        problem = lines[min(1, len(lines) - 1)] if first else lines[-1]
        raise CheckpointError(f"{what}: {problem[:200]}") from None


def data_in(extra: Any) -> Any:
    """The plain data in a tensor of JSON as bytes; None where there is none."""
    if not isinstance(extra, Tensor) or extra.dtype != torch.uint8 or extra.dim() != 1:
        return None
    if extra.device.type != "cpu" or extra.layout != torch.strided or extra.numel() > _LONGEST_DESCRIPTION:
        return None
    try:
        return json.loads(bytes(extra.tolist()))
    except (ValueError, RecursionError):
        return None


def description_in(state: Mapping[str, Any]) -> Dict[str, Any]:
    """What a state dict says of its network under `EXTRA_STATE`; empty where that is not JSON as bytes."""
    data = data_in(state.get(EXTRA_STATE))
    return data if isinstance(data, dict) else {}
