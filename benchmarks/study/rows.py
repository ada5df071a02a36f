"""Where the networks of a row come from: searches, chance, a rule, a file. A new kind of row is a class here."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Dict, List, Mapping, Optional, Protocol, Sequence, Tuple, Type

from study.run import Run
from study.sensitivity import greedy_genotype

from quantnas_sr.cost import sample_genotypes
from quantnas_sr.cost.budget import Budget
from quantnas_sr.errors import OptionError
from quantnas_sr.options.read import supernet_of
from quantnas_sr.search_space import Genotype
from quantnas_sr.search_space.genotype import Choice

#: Of a budget, how far from it the cost of a random network may be.
WITHIN = 0.05


class Context(Protocol):
    """What a row needs of the study that it belongs to."""

    plan: Any

    def run(self, name: str, options: Mapping[str, Any], after: Optional[Run] = None) -> Run:
        """A run of this study; ``after`` must have ended before it can begin."""


@dataclass(frozen=True)
class Row:
    """Networks of one kind.

    Attributes:
        training_seeds: with which each of them is trained; those of the plan if there are none.
        train_options: what is different in their training.
    """

    kind: ClassVar[str]
    training_seeds: Optional[Sequence[int]] = None
    train_options: Mapping[str, Any] = field(default_factory=dict)

    def runs(self, study: Context, name: str) -> List[Run]:
        """What must have run before the genotypes are known."""
        return []

    def genotypes(self, study: Context, name: str) -> List[Genotype]:
        """The genotypes, once `runs` have ended."""
        raise NotImplementedError

    def example(self, study: Context, name: str) -> Genotype:
        """A genotype of the same space and sizes, before `runs` have ended."""
        return self.genotypes(study, name)[0]

    def size(self) -> int:
        """The number of networks."""
        return 1


@dataclass(frozen=True)
class Searched(Row):
    """Networks that a search finds, one for each seed.

    Attributes:
        seeds: of the searches.
        options: what is different in these searches.
        first: what is different in a search before each of them, whose operations it takes (the two-fold procedure).
    """

    kind: ClassVar[str] = "search"
    seeds: Sequence[int] = (0,)
    options: Mapping[str, Any] = field(default_factory=dict)
    first: Optional[Mapping[str, Any]] = None

    def size(self) -> int:
        return len(self.seeds)

    def searches(self, study: Context, name: str) -> List[Run]:
        """The searches that end with the genotypes, seed by seed."""
        return self.runs(study, name)[-len(self.seeds) :]

    def runs(self, study: Context, name: str) -> List[Run]:
        before: List[Optional[Run]] = [None] * len(self.seeds)
        if self.first is not None:
            first = [study.plan.search_options(self.first, seed, limited=False) for seed in self.seeds]
            before = [study.run(f"{name}_first_s{seed}", options) for seed, options in zip(self.seeds, first)]
        last = []
        for seed, earlier in zip(self.seeds, before):
            options = study.plan.search_options(self.options, seed)
            if earlier is not None:
                options["network_g"] = _with_genotype(options["network_g"], earlier.genotype)
            last.append(study.run(f"{name}_s{seed}", options, after=earlier))
        return [run for run in before if run is not None] + last

    def genotypes(self, study: Context, name: str) -> List[Genotype]:
        return [Genotype.load(run.genotype) for run in self.searches(study, name)]

    def example(self, study: Context, name: str) -> Genotype:
        """One that the first of its searches may end with."""
        begins = self.options if self.first is None else self.first
        options = study.plan.search_options(begins, limited=self.first is None)
        net = supernet_of(options, f"rows.{name}")
        budget = (options["train"].get("hardware_opt") or {}).get("budget")
        return net.genotype(choice=None if budget is None else Budget(net, budget).choice(net.alphas_by_slot()))


def _with_genotype(network: Mapping[str, Any], genotype: Path) -> Dict[str, Any]:
    """The options of a supernet whose operations are those of a genotype, which says what else they would."""
    said = ("search_space", "candidates", "num_feat", "num_block", "norm", "scale", "activation_quantizer")
    return {**{key: value for key, value in network.items() if key not in said}, "genotype": str(genotype)}


@dataclass(frozen=True)
class Sampled(Row):
    """Random networks of the search's space.

    Attributes:
        count: how many.
        seed: of the random generator.
        gbitops: range of their cost, GBitOps (10^9) for an input of 32x32; by default within 5 % of the budget.
        options: what is different in the search whose space it is.
    """

    kind: ClassVar[str] = "random"
    count: int = 1
    seed: int = 0
    gbitops: Optional[Tuple[float, float]] = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def size(self) -> int:
        return self.count

    def genotypes(self, study: Context, name: str) -> List[Genotype]:
        budget = study.plan.budget
        around = None if budget is None else (budget * (1 - WITHIN), budget * (1 + WITHIN))
        net = supernet_of(study.plan.search_options(self.options), f"rows.{name}")
        return sample_genotypes(net, self.count, self.seed, self.gbitops or around)


def uniform(study: Context, name: str, num_feat: int, num_block: int, bits: int, ends: Optional[int]) -> Genotype:
    """The first operation of every slot at the same bits; ``ends``: the bits of the first and the last slot."""
    net = supernet_of(study.plan.search_options({"network_g": {"num_feat": num_feat, "num_block": num_block}}), name)
    names = list(net.candidates)
    of_ends = dict.fromkeys((names[0], names[-1]), ends or bits)
    slots = {name: Choice(operations[0], of_ends.get(name, bits)) for name, operations in net.candidates.items()}
    return replace(net.genotype(), slots=slots)


@dataclass(frozen=True)
class Uniform(Row):
    """A network as it is made by hand: the first operation of every slot, with the same bits everywhere.

    Attributes:
        num_feat, num_block: sizes of the network.
        bits: of all layers.
        ends: of the first and last layer, if different.
    """

    kind: ClassVar[str] = "uniform"
    num_feat: int = 0
    num_block: int = 0
    bits: int = 8
    ends: Optional[int] = None

    def genotypes(self, study: Context, name: str) -> List[Genotype]:
        return [uniform(study, name, self.num_feat, self.num_block, self.bits, self.ends)]


@dataclass(frozen=True)
class Greedy(Row):
    """The usual practice: a network trained at high bits, whose layers get low ones where that costs least.

    Attributes:
        num_feat, num_block: sizes of the network.
        bits: low and high.
        images: number of training patches on which the loss of every layer is measured.
    """

    kind: ClassVar[str] = "sensitivity"
    num_feat: int = 0
    num_block: int = 0
    bits: Tuple[int, int] = (4, 8)
    images: int = 32

    def runs(self, study: Context, name: str) -> List[Run]:
        genotype = self.example(study, name).to_dict()
        return [study.run(f"{name}_high", study.plan.train_options(genotype, 0, self.train_options))]

    def example(self, study: Context, name: str) -> Genotype:
        return uniform(study, name, self.num_feat, self.num_block, max(self.bits), None)

    def genotypes(self, study: Context, name: str) -> List[Genotype]:
        if study.plan.budget is None:
            raise OptionError(f"rows.{name}: a row of kind {self.kind} needs the plan's budget")
        (trained,) = self.runs(study, name)
        return [greedy_genotype(trained.network, trained.options, min(self.bits), study.plan.budget, self.images)]


@dataclass(frozen=True)
class Given(Row):
    """Networks of genotype files.

    Attributes:
        files: relative to the working directory.
    """

    kind: ClassVar[str] = "genotype"
    files: Sequence[str] = ()

    def size(self) -> int:
        return len(self.files)

    def genotypes(self, study: Context, name: str) -> List[Genotype]:
        return [Genotype.load(path) for path in self.files]


KINDS: Dict[str, Type[Row]] = {cls.kind: cls for cls in (Searched, Sampled, Uniform, Greedy, Given)}
