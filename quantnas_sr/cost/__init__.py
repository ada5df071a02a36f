"""MACs, BitOps, parameters, packed size and latency.

- `count`: of any network; `edge_costs`, `expected_cost`: of a supernet's alphas
- `COST_REGISTRY`, `Cost`: the costs that a search can penalise or limit
- `Budget`: a limit for the cost of the derived network, and the most probable genotype within it
- `sample_genotypes`: random genotypes within a range of cost
"""

from quantnas_sr.cost.budget import Budget
from quantnas_sr.cost.costs import COST_REGISTRY, Cost, build_cost
from quantnas_sr.cost.count import ConvShape, LayerCost, NetworkCost, count
from quantnas_sr.cost.latency import Latency
from quantnas_sr.cost.sample import sample_genotypes
from quantnas_sr.cost.slots import edge_costs, edge_layers, expected_cost

__all__ = [
    "COST_REGISTRY",
    "Budget",
    "ConvShape",
    "Cost",
    "Latency",
    "LayerCost",
    "NetworkCost",
    "build_cost",
    "count",
    "edge_costs",
    "edge_layers",
    "expected_cost",
    "sample_genotypes",
]
