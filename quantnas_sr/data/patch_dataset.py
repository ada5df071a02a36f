"""Patches of images without ground truth, for a training whose target is a teacher's image."""

from typing import Any, Dict

from basicsr.data import build_dataset
from basicsr.data.transforms import augment, paired_random_crop
from basicsr.utils import img2tensor
from torch.utils.data import Dataset

from quantnas_sr.registration import DATASET_REGISTRY


@DATASET_REGISTRY.register()
class QuantNASPatchDataset(Dataset):
    """Random patches of low-resolution images that have no ground truth.

    Item i holds ``lq``, (C, P, P), RGB in 0..1, and ``lq_path``; P is ``gt_size // scale``. `train: teacher` makes the
    target. Images are read as BasicSR's ``SingleImageDataset`` reads them.

    Args:
        opt: the options of ``SingleImageDataset``, and ``gt_size``, ``use_hflip``, ``use_rot`` as of paired datasets.
    """

    def __init__(self, opt: Dict[str, Any]) -> None:
        self.opt = opt
        self.dataset = build_dataset({**opt, "type": "SingleImageDataset"})

    def __getitem__(self, index: int) -> Dict[str, Any]:
        item = self.dataset[index]
        image = item["lq"].permute(1, 2, 0).numpy()
        _, patch = paired_random_crop(image, image, self.opt["gt_size"] // self.opt["scale"], 1, item["lq_path"])
        patch = augment(patch, self.opt["use_hflip"], self.opt["use_rot"])
        return {**item, "lq": img2tensor(patch, bgr2rgb=False, float32=True)}

    def __len__(self) -> int:
        return len(self.dataset)
