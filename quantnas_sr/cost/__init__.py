"""MACs, BitOps, parameters and packed size of any network (`count`), and of a supernet's alphas (`edge_costs`)."""

from quantnas_sr.cost.count import LayerCost, NetworkCost, count
from quantnas_sr.cost.slots import COSTS, edge_costs, expected_cost

__all__ = ["COSTS", "LayerCost", "NetworkCost", "count", "edge_costs", "expected_cost"]
