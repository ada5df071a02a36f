"""Checkpoints that BasicSR saves, written with a digest, read back, and put in their place in one step."""

from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, Optional

import torch
from basicsr.models import base_model

from quantnas_sr.compat.replacing import alike, replaced
from quantnas_sr.errors import CheckpointError
from quantnas_sr.pth import write_pth
from quantnas_sr.system.files import written_aside


class Saved:
    """What BasicSR hands to ``torch.save``, on its way to the disk.

    Args:
        more: entries to add.
    """

    def __init__(self, more: Dict[str, Any]) -> None:
        self.more = more
        self.digest: Optional[str] = None
        self.problem = "BasicSR saved nothing"

    def save(self, content: Dict[str, Any], path: str) -> None:
        """In the place of ``torch.save``. BasicSR tries again after an error, and at last goes on without the file."""
        try:
            self.digest = write_pth({**content, **self.more}, path)
        except (OSError, CheckpointError) as error:
            self.problem = getattr(error, "strerror", None) or str(error)
            raise


@contextmanager
def saved_whole(opt: Dict[str, Any], folder: str, name: str, more: Optional[Dict[str, Any]] = None) -> Iterator[Saved]:
    """Within the block BasicSR saves the file ``name`` of ``opt["path"][folder]``.

    Raises:
        CheckpointError: it could not be written; what was there before is still there.
    """
    final, saved = Path(opt["path"][folder]), Saved(more or {})
    with written_aside(final / name) as aside:
        opt["path"][folder] = str(aside.parent)
        try:
            with replaced(vars(base_model), torch=alike(torch, save=saved.save)):
                yield saved
        finally:
            opt["path"][folder] = str(final)
        if saved.digest is None:
            raise CheckpointError(f"{final / name}: cannot be written: {saved.problem}; earlier checkpoints are whole")
