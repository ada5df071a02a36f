"""What the network of a genotype looks like: the paper's two spaces, and any other by the names of its slots."""

from collections import Counter
from typing import Callable, Dict, List

import torch
from torch import nn

from quantnas_sr.report.drawing.page import Diagram, Group
from quantnas_sr.report.drawing.parts import Addend, Beside, Box, Repeat, Residual, Row, Tracks
from quantnas_sr.report.drawing.rfdn_cell import Distillation
from quantnas_sr.search_space import Genotype, get_search_space
from quantnas_sr.search_space.skeletons.rfdn import FIXED_BITS

NORM_LABELS = {"adq": "ADQ", "adadm": "AdaDM", "batch": "BN", "none": ""}


def slot_box(genotype: Genotype, slot: str, note: str = "") -> Box:
    """The box of a slot."""
    operation, bits = genotype.slots[slot]
    return Box(operation.replace("_", " "), bits, slot + note)


def _boxes(genotype: Genotype, *slots: str) -> List[Box]:
    return [slot_box(genotype, slot) for slot in slots]


def _upsample(genotype: Genotype) -> Group:
    return Group("UPSAMPLE", Row(slot_box(genotype, "upsample"), Box(f"PixelShuffle ×{genotype.scale}")))


def basic(genotype: Genotype) -> Diagram:
    """Figure 3 of the paper."""
    norm = NORM_LABELS[genotype.norm]
    cell = Residual(Beside(Row(*_boxes(genotype, "body_0", "body_1")), slot_box(genotype, "skip")), norm)
    groups = [
        Group("HEAD", Row(*_boxes(genotype, "head_0", "head_1"))),
        Group("BODY", Residual(Repeat(cell, genotype.num_block), norm)),
        _upsample(genotype),
        Group("TAIL", Residual(Row(*_boxes(genotype, "tail_0", "tail_1")), norm)),
    ]
    return Diagram(groups)


def rfdn(genotype: Genotype) -> Diagram:
    """The cells of RFDN, whose outputs are concatenated and fused."""
    fuse = [Box(f"fuse {kernel}", FIXED_BITS) for kernel in ("1x1", "3x3")]
    groups = [
        *(Group(f"CELL {i}", _rfdn_cell(genotype, i)) for i in range(genotype.num_block)),
        Group("FUSE", Row(Box("concatenation of all cells"), *fuse, Addend("repeated image"))),
        _upsample(genotype),
        Group("TAIL", Residual(slot_box(genotype, "tail"))),
    ]
    entry = "LR image", f"repeated to {genotype.num_feat} channels"
    return Diagram(groups, entry, fixed_bits=(FIXED_BITS,))


def _rfdn_cell(genotype: Genotype, cell: int) -> Residual:
    skips = _boxes(genotype, *(f"skip_{cell}_{i}" for i in range(3)))
    bodies = _boxes(genotype, *(f"body_{cell}_{i}" for i in range(4)))
    after = Row(Box("fuse 1x1", FIXED_BITS), Box("ESA", FIXED_BITS))
    return Residual(Distillation(skips, bodies, after), NORM_LABELS[genotype.norm])


def by_slot_names(genotype: Genotype) -> Diagram:
    """Any space: a group for each cell (slots ``kind_cell_number``), and for each kind of the other slots."""
    groups: Dict[str, Dict[str, List[Box]]] = {}
    for slot, places in _places(genotype).items():
        kind, *numbers = slot.split("_")
        title = f"CELL {numbers[0]}" if len(numbers) > 1 else kind.upper()
        note = f" × {places}" if places > 1 else ""
        groups.setdefault(title, {}).setdefault(kind, []).append(slot_box(genotype, slot, note))
    note = "Groups of slots in the order of the skeleton; the wires inside a group are not drawn"
    return Diagram([Group(title, Tracks(list(kinds.values()))) for title, kinds in groups.items()], note=note)


def _places(genotype: Genotype) -> Dict[str, int]:
    """How often each slot stands in the skeleton, in the order of the wiring."""
    places: Dict[str, int] = Counter()

    def note(slot: str, in_channels: int, out_channels: int) -> nn.Module:
        places[slot] += 1
        return nn.Identity()

    g = genotype
    with torch.device("meta"):
        get_search_space(g.search_space).build(note, g.scale, g.num_feat, g.num_block, norm="none")
    return places


_WIRINGS: Dict[str, Callable[[Genotype], Diagram]] = {"basic": basic, "rfdn": rfdn}


def diagram_of(genotype: Genotype) -> Diagram:
    """The diagram of a genotype's network."""
    return _WIRINGS.get(genotype.search_space, by_slot_names)(genotype)
