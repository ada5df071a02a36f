"""Random search: random genotypes within a range of cost (the paper's appendix F)."""

from typing import List, Optional, Tuple

import numpy as np

from quantnas_sr.cost.slots import edge_costs, fixed_cost
from quantnas_sr.errors import OptionError
from quantnas_sr.search_space import Genotype, Supernet

_AT_ONCE = 2**16
_MOST_DRAWS = 2**24


def sample_genotypes(
    net: Supernet, number: int, seed: int = 0, gbitops: Optional[Tuple[float, float]] = None
) -> List[Genotype]:
    """Draw distinct genotypes, uniformly from the search space.

    Args:
        net: the supernet whose candidates are chosen from; its weights do not matter.
        number: number of genotypes.
        seed: of the random generator; the same seed gives the same genotypes.
        gbitops: lowest and highest GBitOps for a 32x32 input; genotypes outside are rejected.

    Raises:
        OptionError: this range has fewer genotypes, or so few that random draws do not find them.
    """
    costs = {name: table.numpy().reshape(-1) for name, table in edge_costs(net).items()}
    fixed = fixed_cost(net)
    low, high = (-np.inf, np.inf) if gbitops is None else (1e9 * limit for limit in gbitops)
    random = np.random.default_rng(seed)
    found: List[Tuple[int, ...]] = []
    known = set()
    for _ in range(_MOST_DRAWS // _AT_ONCE):
        edges = np.stack([random.integers(len(table), size=_AT_ONCE) for table in costs.values()], axis=1)
        total = fixed + sum(table[column] for table, column in zip(costs.values(), edges.T))
        for row in map(tuple, edges[(low <= total) & (total <= high)].tolist()):
            if row not in known:
                known.add(row)
                found.append(row)
            if len(found) == number:
                return [_genotype(net, edges, seed, i) for i, edges in enumerate(found)]
    cheapest = (fixed + sum(table.min() for table in costs.values())) / 1e9
    dearest = (fixed + sum(table.max() for table in costs.values())) / 1e9
    raise OptionError(
        f"gbitops: {len(found)} of {number} genotypes found in {_MOST_DRAWS:,d} draws. "
        f"Those of this space lie between {cheapest:.3f} and {dearest:.3f}"
    )


def _genotype(net: Supernet, edges: Tuple[int, ...], seed: int, index: int) -> Genotype:
    return net.genotype({"sampled": {"seed": seed, "index": index}}, dict(zip(net.slots, edges)))
