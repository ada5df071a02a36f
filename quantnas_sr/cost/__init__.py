"""MACs, BitOps, parameters and packed size.

- `count`: of any network; `edge_costs`, `expected_cost`: of a supernet's alphas
- `sample_genotypes`: random genotypes within a range of cost
"""

from quantnas_sr.cost.count import ConvShape, LayerCost, NetworkCost, count
from quantnas_sr.cost.sample import sample_genotypes
from quantnas_sr.cost.slots import COSTS, edge_costs, expected_cost

__all__ = [
    "COSTS",
    "ConvShape",
    "LayerCost",
    "NetworkCost",
    "count",
    "edge_costs",
    "expected_cost",
    "sample_genotypes",
]
