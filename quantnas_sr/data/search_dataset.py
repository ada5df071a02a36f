"""The training data of a search in two halves: one for the weights, one for the alphas."""

from typing import Any, Dict

import torch
from basicsr.data import build_dataset
from torch.utils.data import Dataset

from quantnas_sr.errors import OptionError
from quantnas_sr.registration import DATASET_REGISTRY

#: Seed of the split, which depends on nothing else but the number of images: it is the same in every process and run.
_SPLIT_SEED = 0


@DATASET_REGISTRY.register()
class QuantNASSearchDataset(Dataset):
    """Two disjoint halves of any paired BasicSR dataset, served together.

    Item i holds the i-th sample of the weights' half as ``lq``, ``gt``, ``lq_path``, ``gt_path``, and a sample of the
    alphas' half as ``lq_alpha``, ``gt_alpha``, ``lq_alpha_path``, ``gt_alpha_path``. An epoch is as long as the larger
    half; samples of the smaller one repeat. The halves are fixed by index, so they stay disjoint under DDP.

    Args:
        opt: the options of the wrapped dataset, and of this one: ``dataset``, the type that is wrapped
            (``PairedImageDataset``); ``alpha_fraction``, the alphas' share of the images (0.5).
    """

    def __init__(self, opt: Dict[str, Any]) -> None:
        self.opt = opt
        fraction = opt.get("alpha_fraction", 0.5)
        if not 0 < fraction < 1:
            raise OptionError(f"alpha_fraction: {fraction!r} is not a number between 0 and 1")
        wrapped = {key: value for key, value in opt.items() if key not in ("dataset", "alpha_fraction")}
        wrapped["type"] = opt.get("dataset", "PairedImageDataset")
        self.dataset = build_dataset(wrapped)
        order = torch.randperm(len(self.dataset), generator=torch.Generator().manual_seed(_SPLIT_SEED)).tolist()
        count = round(fraction * len(order))
        if not 0 < count < len(order):
            raise OptionError(f"alpha_fraction: {fraction} of {len(order)} images leaves one half without any")
        self.alpha_indices, self.weight_indices = order[:count], order[count:]

    @property
    def halves(self) -> str:
        """The sizes of both halves in words, for messages."""
        total, weights, alphas = len(self.dataset), len(self.weight_indices), len(self.alpha_indices)
        return f"{total} images are split into {weights} for the weights and {alphas} for the alphas"

    def __getitem__(self, index: int) -> Dict[str, Any]:
        item = dict(self.dataset[self.weight_indices[index % len(self.weight_indices)]])
        other = self.dataset[self.alpha_indices[index % len(self.alpha_indices)]]
        for key in ("lq", "gt"):
            item[f"{key}_alpha"], item[f"{key}_alpha_path"] = other[key], other[f"{key}_path"]
        return item

    def __len__(self) -> int:
        return max(len(self.weight_indices), len(self.alpha_indices))
