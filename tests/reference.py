"""Values that other people's programs printed (`golden/README.md` names each source)."""

import json
from pathlib import Path
from typing import Any, Dict

GOLDEN = Path(__file__).resolve().parent / "golden"


def golden_json(name: str) -> Any:
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


def golden_arrays(name: str) -> Dict[str, Any]:
    import numpy as np
    import torch

    with np.load(GOLDEN / name) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def golden_genotype(space: str, case: Dict[str, Any], num_feat: int, num_block: int):
    """The reference's nested lists of (operation, bits) as a `Genotype`."""
    from quantnas_sr.search_space import Genotype

    slots = {}
    for kind, entries in case["genotype"].items():
        for i, entry in enumerate(entries):
            if isinstance(entry[0], list):
                slots.update({f"{kind}_{i}_{j}": choice for j, choice in enumerate(entry)})
            else:
                slots[f"{kind}_{i}" if len(entries) > 1 else kind] = entry
    return Genotype.from_dict(
        {
            "genotype_version": 1,
            "search_space": space,
            "scale": 4,
            "num_feat": num_feat,
            "num_block": num_block,
            "norm": "adq",
            "slots": {name: {"operation": op, "bits": bits} for name, (op, bits) in slots.items()},
        }
    )
