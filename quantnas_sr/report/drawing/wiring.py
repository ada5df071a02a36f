"""The diagram of a genotype's network, whatever its search space: the wiring that `trace` sees, in groups."""

from collections import Counter
from typing import Dict, List, NamedTuple, Sequence, Tuple

import torch
from torch import nn

from quantnas_sr.report.drawing.page import Diagram, Group
from quantnas_sr.report.drawing.parts import Box, Repeat, Tracks
from quantnas_sr.report.drawing.trace import Node, trace
from quantnas_sr.report.drawing.tree import Chain, Chains, NotDrawableError, in_a_row, looks
from quantnas_sr.search_space import Genotype, get_search_space

NOTE = "Slots in the order of the skeleton; how they are wired is not drawn"


def diagram_of(genotype: Genotype) -> Diagram:
    """The diagram of a genotype's network.

    A skeleton that cannot be run on the meta device, or whose wiring is not made of chains and branches, is drawn by
    the names of its slots, and the diagram says so.
    """
    try:
        return wired(trace(genotype))
    except Exception:  # a user's skeleton may raise anything
        return by_slot_names(genotype)


class _Segment(NamedTuple):
    """Nodes that stand together in a frame."""

    titles: Tuple[str, ...]
    nodes: Tuple[Node, ...]

    @property
    def title(self) -> str:
        return " · ".join(dict.fromkeys(self.titles))


def wired(nodes: Sequence[Node]) -> Diagram:
    """The diagram of the nodes of a network.

    Raises:
        NotDrawableError: its wiring is not made of chains and branches.
    """
    segments = _joined(_by_module([node for node in nodes if node.kind != "image"]))
    source = next((x for node in segments[0].nodes for x in node.inputs if x not in segments[0].nodes), None)
    if source is None:
        raise NotDrawableError
    groups: List[Tuple[str, Chain]] = []
    entry = source
    for segment in segments:
        chains = Chains(segment.nodes, entry, lambda others: _named(others, segments))
        groups.append((segment.title, chains.to(segment.nodes[-1], entry)))
        entry = segment.nodes[-1]
    fixed = sorted({node.bits for node in nodes if node.bits and not node.slot})
    image = ("LR image",) if source.words == "image" else ("LR image", _made(source))
    return Diagram(_folded(groups), image, fixed_bits=tuple(fixed))


def _made(source: Node) -> str:
    """
    >>> _made(Node("image", (), words="repeated image", channels=48))
    'repeated to 48 channels'
    """
    return f"{source.words.split()[0]} to {source.channels} channels"


def _by_module(nodes: Sequence[Node]) -> List[_Segment]:
    """Neighbours that belong to the same module at the top of the skeleton, or to the same entry of a list there."""
    titles = _titles(nodes)
    segments: List[_Segment] = []
    for i, node in enumerate(nodes):
        following = titles[i + 1] if i + 1 < len(nodes) else ""
        title = titles[i]
        if not title:  # computed by the skeleton itself
            title = following if node.kind == "concatenation" and following else _title_of_last_input(node, segments)
        if segments and segments[-1].titles == (title,):
            segments[-1] = segments[-1]._replace(nodes=(*segments[-1].nodes, node))
        else:
            segments.append(_Segment((title,), (node,)))
    return segments


def _title_of_last_input(node: Node, segments: Sequence[_Segment]) -> str:
    for segment in reversed(segments):
        if any(x in segment.nodes for x in node.inputs):
            return segment.titles[0]
    return segments[-1].titles[0] if segments else ""


def _titles(nodes: Sequence[Node]) -> List[str]:
    """By node, ``HEAD`` for what stands in ``skeleton.head``, ``CELL 2`` for what stands in ``skeleton.cells[2]``.

    Boxes of a list that are all its entries have stand together, as those of a sequence.
    """
    deep = {node.path[:1] for node in nodes if len(node.path) > 1 and node.path[1].isdigit() and len(node.path) > 2}
    titles = []
    for node in nodes:
        top, *rest = node.path or ("",)
        if (top,) in deep and rest:
            top = f"{top[:-1] if top.endswith('s') else top} {rest[0]}"
        titles.append(top.upper())
    return titles


def _joined(segments: Sequence[_Segment]) -> List[_Segment]:
    """Segments joined with those before them until each of their boxes has its input there, or at the end before it."""
    joined: List[_Segment] = []
    for segment in segments:
        joined.append(segment)
        while len(joined) > 1 and not _follows(joined[-1], joined[-2].nodes[-1]):
            last, before = joined.pop(), joined.pop()
            joined.append(_Segment((*before.titles, *last.titles), (*before.nodes, *last.nodes)))
    return joined


def _follows(segment: _Segment, entry: Node) -> bool:
    inputs = {x for node in segment.nodes if node.kind == "box" for x in node.inputs}
    used = {x for node in segment.nodes for x in node.inputs}
    return inputs <= {entry, *segment.nodes} and entry in used


def _named(nodes: Sequence[Node], segments: Sequence[_Segment]) -> str:
    """What nodes of other segments, or made of the image, are called."""
    titles = [_title(node, segments) for node in nodes]
    kinds = {title.rpartition(" ")[0] for title in titles}
    kind = kinds.pop() if len(kinds) == 1 else ""
    of_kind = [segment.title for segment in segments if kind and segment.title.rpartition(" ")[0] == kind]
    if len(titles) > 1 and sorted(titles) == sorted(of_kind):
        return f"all {kind.lower()}s"
    return ", ".join(titles)


def _title(node: Node, segments: Sequence[_Segment]) -> str:
    if node.kind == "image":
        return node.words
    segment = next(segment for segment in segments if node in segment.nodes)
    return segment.title if node is segment.nodes[-1] else f"inside {segment.title}"


def _folded(groups: Sequence[Tuple[str, Chain]]) -> List[Group]:
    """The groups; neighbours that look alike, as cells that share their slots do, are drawn once."""
    folded: List[Group] = []
    i = 0
    while i < len(groups):
        times = 1
        while i + times < len(groups) and looks(groups[i + times][1]) == looks(groups[i][1]):
            times += 1
        title, part = groups[i][0], in_a_row(groups[i][1])
        if times > 1:
            title, part = f"{title} TO {groups[i + times - 1][0].rpartition(' ')[2]}", Repeat(part, times)
        folded.append(Group(title, part))
        i += times
    return folded


def by_slot_names(genotype: Genotype) -> Diagram:
    """A group for each cell (slots ``kind_cell_number``), and for each kind of the other slots; no wires."""
    groups: Dict[str, Dict[str, List[Box]]] = {}
    for slot, places in _places(genotype).items():
        kind, *numbers = slot.split("_")
        title = f"CELL {numbers[0]}" if len(numbers) > 1 else kind.upper()
        operation, bits = genotype.slots[slot]
        box = Box(operation.replace("_", " "), bits, slot + (f" × {places}" if places > 1 else ""))
        groups.setdefault(title, {}).setdefault(kind, []).append(box)
    return Diagram([Group(title, Tracks(list(kinds.values()))) for title, kinds in groups.items()], note=NOTE)


def _places(genotype: Genotype) -> Dict[str, int]:
    """How often each slot stands in the skeleton, in the order of the wiring."""
    places: Dict[str, int] = Counter()

    def note(slot: str, in_channels: int, out_channels: int) -> nn.Module:
        places[slot] += 1
        return nn.Identity()

    g = genotype
    with torch.device("meta"):
        get_search_space(g.search_space).build(note, g.scale, g.num_feat, g.num_block, norm=g.norm)
    return places
