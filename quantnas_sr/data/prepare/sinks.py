"""Writes pairs to two LMDBs or to two folders of PNG files, which appear only when they are complete."""

import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, Sequence, Tuple

from quantnas_sr.data.prepare.pipeline import Encoded, Pair
from quantnas_sr.errors import DataError
from quantnas_sr.system.files import written_aside

Put = Callable[[Pair], None]

#: Images in one LMDB transaction, which is held in memory: about 100 MB of sub-images.
IMAGES_PER_COMMIT = 250


@dataclass(frozen=True)
class Target:
    """Two LMDBs (``lmdb``) or two folders to write.

    ``lq_template`` makes an LR file's name of the GT file's name, as BasicSR's ``filename_tmpl`` does.
    """

    gt: Path
    lq: Path
    lmdb: bool
    lq_template: str = "{}"

    @contextmanager
    def open(self) -> Iterator[Put]:
        """Give the function that writes a pair. All pairs appear together at the end and replace older ones.

        Raises DataError when they cannot be written.
        """
        import lmdb

        writing = _lmdb_writer if self.lmdb else _folder_writer
        try:
            with _replacing(self.gt, self.lq) as asides, writing(self, *asides) as put:
                yield put
        except (OSError, lmdb.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"{self.gt.parent}: cannot be written: {reason}") from error


def refuse_existing(targets: Sequence[Target], overwrite: bool) -> None:
    """Raise DataError when a part of ``targets`` is there already and ``overwrite`` is not set."""
    for target in targets:
        for path in (target.gt, target.lq):
            if not overwrite and os.path.lexists(path):
                raise DataError(f"{path} exists already: remove it, or replace it with --overwrite")


@contextmanager
def _replacing(gt: Path, lq: Path) -> Iterator[Tuple[Path, Path]]:
    with written_aside(gt) as gt_aside, written_aside(lq) as lq_aside:
        yield gt_aside, lq_aside
        for old, aside in ((gt, gt_aside), (lq, lq_aside)):
            if os.path.lexists(old):
                os.replace(old, aside.parent / "old")


@contextmanager
def _lmdb_writer(target: Target, gt: Path, lq: Path) -> Iterator[Put]:
    from basicsr.utils.lmdb_util import LmdbMaker

    with ExitStack() as stack:
        makers = [LmdbMaker(str(path), batch=IMAGES_PER_COMMIT) for path in (gt, lq)]
        for maker in makers:
            stack.callback(maker.close)

        def put(pair: Pair) -> None:
            for maker, image in zip(makers, (pair.gt, pair.lq)):
                maker.put(image.png, pair.key, image.shape)

        yield put


@contextmanager
def _folder_writer(target: Target, gt: Path, lq: Path) -> Iterator[Put]:
    gt.mkdir()
    lq.mkdir()

    def write(folder: Path, stem: str, image: Encoded) -> None:
        (folder / f"{stem}.png").write_bytes(image.png)

    def put(pair: Pair) -> None:
        write(gt, pair.key, pair.gt)
        write(lq, target.lq_template.format(pair.key), pair.lq)

    yield put
