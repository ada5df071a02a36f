"""Converts the nodes of a wiring to chains and branches, and these to parts of a picture."""

from typing import (
    Callable,
    Collection,
    Dict,
    FrozenSet,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
    Union,
)

from quantnas_sr.report.drawing.gathering import Gathering
from quantnas_sr.report.drawing.parts import Addend, Beside, Box, Part, Repeat, Residual, Row
from quantnas_sr.report.drawing.trace import Node


class NotDrawableError(Exception):
    """The wiring is not made of chains and of branches that join them again."""


class Leaf(NamedTuple):
    """A box; ``node`` is what it ends with."""

    node: Node
    words: str
    bits: int = 0
    slot: str = ""


class Elsewhere(NamedTuple):
    """What is added to the signal from another part of the network, which is named."""

    node: Node
    name: str


class Branches(NamedTuple):
    """A chain and the branches that leave it and meet it again at ``node``.

    ``others``: the index of the element of ``main`` before which each leaves, and what it goes through.
    """

    node: Node
    main: Tuple["Element", ...]
    others: Tuple[Tuple[int, Tuple["Element", ...]], ...]


Element = Union[Leaf, Elsewhere, Branches]
Chain = Tuple[Element, ...]


class Chains:
    """Chains through some nodes.

    Args:
        nodes: in the order of their computation; those outside are elsewhere.
        source: where the chains begin, outside of ``nodes``.
        name: what to call a node that is elsewhere.
    """

    def __init__(self, nodes: Sequence[Node], source: Node, name: Callable[[Sequence[Node]], str]) -> None:
        self.order = {node: i for i, node in enumerate((source, *nodes))}
        self.source, self.name = source, name
        self._dominators: Dict[Node, FrozenSet[Node]] = {source: frozenset([source])}
        for node in nodes:
            above = [self._dominators[x] for x in node.inputs if x in self._dominators]
            self._dominators[node] = (frozenset.intersection(*above) if above else frozenset()) | {node}

    def to(self, node: Node, source: Node) -> Chain:
        """The chain from ``source`` to ``node``.

        Raises:
            NotDrawableError: there is none.
        """
        chain: List[Element] = []
        while node is not source:
            elements, node = self._step(node, source)
            chain += reversed(elements)
        return tuple(reversed(chain))

    def _step(self, node: Node, source: Node) -> Tuple[List[Element], Node]:
        """The elements that ``node`` ends, in their order, and the node that comes before them."""
        inside = [x for x in node.inputs if x in self.order]
        outside = [x for x in node.inputs if x not in self.order]
        if node.kind == "box":
            if outside or len(inside) != 1:
                raise NotDrawableError
            return [Leaf(node, node.words, node.bits or 0, node.slot)], inside[0]
        elements: List[Element] = []
        before = inside[0] if inside else source
        if len(inside) > 1:
            before = self._where_they_part(inside, source)
            elements.append(self._branches(node, self._flat(node, inside), before))
        if outside and node.kind == "sum":
            elements += [Elsewhere(node, self.name([x])) for x in outside]
        elif outside:
            also = outside if before is not source or len(inside) > 1 else [x for x in node.inputs if x not in inside]
            gathered = node.inputs if inside == [source] and source.kind != "image" else also
            preposition = "of" if len(gathered) == len(node.inputs) else "with"
            elements.append(Leaf(node, f"{node.kind} {preposition} {self.name(gathered)}"))
        return elements, before

    def _where_they_part(self, nodes: Sequence[Node], source: Node) -> Node:
        """The last node that every way from the source to any of ``nodes`` passes."""
        common = frozenset.intersection(*(self._dominators[node] for node in nodes))
        common = {node for node in common if source in self._dominators[node]}
        if not common:
            raise NotDrawableError
        return max(common, key=self.order.__getitem__)

    def _flat(self, node: Node, inside: Sequence[Node]) -> List[Node]:
        """What is added up in several steps, ``a + b + c``, is added up at once."""
        used = [x for other in self.order for x in other.inputs]
        flat: List[Node] = []
        for x in inside:
            same = x is not self.source and (x.kind, x.path, x.words) == (node.kind, node.path, node.words)
            whole = same and not node.words and used.count(x) == 1 and all(y in self.order for y in x.inputs)
            flat += self._flat(x, x.inputs) if whole and x.kind == "sum" else [x]
        return flat

    def _branches(self, node: Node, ends: Sequence[Node], source: Node) -> Branches:
        source = self._where_they_part([*ends], source) if len(ends) > 1 else source
        chains = [self.to(end, source) for end in ends]
        for i in sorted(range(len(chains)), key=lambda i: -len(set(boxes(chains[i])))):
            others = _leaving(chains[i], [*chains[:i], *chains[i + 1 :]])
            if others is not None:
                return Branches(node, chains[i], others)
        raise NotDrawableError


def _leaving(main: Chain, chains: Sequence[Chain]) -> Optional[Tuple[Tuple[int, Chain], ...]]:
    """Where each chain leaves ``main``, and what is its own; None where two chains share more than with ``main``."""
    taken: Set[Node] = set(all_nodes(main))
    others = []
    for chain in chains:
        shared = 0
        while shared < min(len(chain), len(main)) and chain[shared].node is main[shared].node:
            shared += 1
        own = set(all_nodes(chain[shared:]))
        if own & taken:
            return None
        taken |= own
        others.append((shared, chain[shared:]))
    return tuple(others)


def all_nodes(chain: Collection[Element]) -> Iterator[Node]:
    """Every node of a chain and its branches."""
    for element in chain:
        yield element.node
        if isinstance(element, Branches):
            yield from all_nodes(element.main)
            for _, other in element.others:
                yield from all_nodes(other)


def boxes(chain: Collection[Element]) -> Iterator[Node]:
    """Those that are boxes."""
    return (node for node in all_nodes(chain) if node.kind == "box")


def looks(chain: Collection[Element]) -> Tuple:
    """All that is seen of a chain: two that look alike are drawn once."""
    return tuple(map(_look, chain))


def _look(element: Element) -> Tuple:
    if isinstance(element, Branches):
        others = tuple((start, looks(other)) for start, other in element.others)
        return element.node.kind, element.node.words, looks(element.main), others
    return tuple(element[1:])


def in_a_row(chain: Sequence[Element], below: bool = False) -> Row:
    """The parts of a chain one after the other. ``below``: the wires of residuals are below."""
    return Row(*parts_of(chain, below))


def parts_of(chain: Sequence[Element], below: bool = False) -> List[Part]:
    """The parts of a chain; what stands several times in a row is drawn once."""
    parts: List[Part] = []
    i = 0
    while i < len(chain):
        times = 1
        while i + times < len(chain) and _look(chain[i + times]) == _look(chain[i]):
            times += 1
        parts.append(_repeated(chain[i], times, below))
        i += times
    return parts


def _repeated(element: Element, times: int, below: bool) -> Part:
    if times > 1 and isinstance(element, Leaf) and element.slot:
        return Box(element.words, element.bits, f"{element.slot} × {times}")
    part = _part(element, below)
    return Repeat(part, times) if times > 1 else part


def _part(element: Element, below: bool) -> Part:
    if isinstance(element, Leaf):
        return Box(element.words, element.bits or None, element.slot)
    if isinstance(element, Elsewhere):
        return Addend(element.name)
    node, main, others = element
    (start, other), *more = others
    if node.kind == "sum" and not more and not start and not node.words * len(other):
        return Beside(in_a_row(main), in_a_row(other)) if other else Residual(in_a_row(main), node.words, below)
    branches: Dict[int, List[List[Part]]] = {}
    for start, other in others:
        branches.setdefault(min(start, len(main) - 1), []).append(parts_of(other))
    return Gathering([_part(stage, below=True) for stage in main], branches, node.words or node.kind)
