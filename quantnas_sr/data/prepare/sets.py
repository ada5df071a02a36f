"""Plans, writes and summarises sets of image pairs."""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import List, Optional, Sequence

import yaml

from quantnas_sr.data.prepare.pipeline import PrepareTask, Tally, pour
from quantnas_sr.data.prepare.sinks import Target


@dataclass(frozen=True)
class Plan:
    """The images (``tasks``) that become one data set at ``target``, for the phase ``train`` or ``val``."""

    phase: str
    target: Target
    tasks: Sequence[PrepareTask]


@dataclass(frozen=True)
class Prepared:
    """One finished data set: where it is, what is in it, and whether it is for ``train`` or ``val``."""

    phase: str
    target: Target
    tally: Tally

    def describe(self) -> str:
        """One line: the number of images, and what was left out or changed."""
        tally = self.tally
        notes = [f"{tally.images} {'image' if tally.images == 1 else 'images'} ({tally.pixels / 1e6:.1f} megapixels)"]
        if tally.pairs != tally.images:
            notes.append(f"{tally.pairs} sub-images")
        notes.append(f"shortest side {tally.shortest}")
        if tally.alpha:
            notes.append(f"{tally.alpha} had an alpha channel, which was dropped")
        if tally.too_small:
            notes.append(f"{tally.too_small} too small, left out")
        if tally.broken:
            notes.append(f"{tally.broken} that do not decode, left out")
        return f"{self.phase}: {', '.join(notes)}"

    def options(self) -> dict:
        """The keys of a BasicSR dataset that point here."""
        keys = {"dataroot_gt": str(self.target.gt), "dataroot_lq": str(self.target.lq)}
        if self.target.lq_template != "{}":
            keys["filename_tmpl"] = self.target.lq_template
        return {**keys, "io_backend": {"type": "lmdb" if self.target.lmdb else "disk"}}


def write_sets(plans: Sequence[Plan], skip_broken: bool = False, workers: Optional[int] = None) -> List[Prepared]:
    """Write all sets, or, when one of them fails, none. Raises DataError."""
    with ExitStack() as stack:
        puts = [stack.enter_context(plan.target.open()) for plan in plans]
        return [
            Prepared(plan.phase, plan.target, pour(plan.tasks, put, plan.phase, skip_broken, workers))
            for plan, put in zip(plans, puts)
        ]


def summary(prepared: Sequence[Prepared]) -> str:
    """The text that ends ``quantnas prepare``: a line for each data set, then YAML to paste."""
    lines = [one.describe() for one in prepared]
    lines += [f"gt_size in the options: {one.tally.shortest} at most" for one in prepared if one.phase == "train"]
    pasted = {"datasets": {one.phase: one.options() for one in prepared}}
    return "\n".join([*lines, "", yaml.safe_dump(pasted, sort_keys=False, allow_unicode=True, width=1000)])
