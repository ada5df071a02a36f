"""What the mean of published networks makes of an LMDB of low-resolution images, as an LMDB to train on.

    python benchmarks/teacher_images.py WEIGHTS --lr datasets/photographs/train_LRbicx4_sub.lmdb --output taught.lmdb

A training with ``dataroot_gt: taught.lmdb`` imitates the networks without their cost in every iteration. WEIGHTS is a
folder with their checkpoints, see published_networks.py.
"""

import argparse
from pathlib import Path

import quantnas_sr  # noqa: F401  (first, because it repairs BasicSR)

# isort: split
import cv2
import numpy as np
import torch
from basicsr.utils import FileClient, imfrombytes
from basicsr.utils.lmdb_util import LmdbMaker
from published_networks import NETWORKS, imported
from tqdm import tqdm

from quantnas_sr.conversion.command import float_network
from quantnas_sr.conversion.recognition import import_file, recognize


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("--lr", required=True, help="LMDB of low-resolution images")
    parser.add_argument("--output", required=True, help="LMDB to write; its name ends in .lmdb")
    parser.add_argument("--names", nargs="+", choices=NETWORKS, default=["RFDN", "SAFMN", "EFDN", "RLFN"])
    args = parser.parse_args()
    networks = []
    for name in args.names:
        for path in imported(name)[1:]:
            import_file(path)
        networks.append(float_network(recognize(args.weights / NETWORKS[name], {"type": name})).eval())
    lines = Path(args.lr, "meta_info.txt").read_text(encoding="utf-8").splitlines()
    images = FileClient("lmdb", db_paths=[args.lr], client_keys=["lq"])
    maker = LmdbMaker(args.output, map_size=2**37)
    for line in tqdm(lines):
        key = line.split(".png", 1)[0]
        image = imfrombytes(images.get(key, "lq"), float32=True)[:, :, ::-1]
        x = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
        y = torch.stack([network(x) for network in networks]).mean(dim=0)[0]
        pixels = (y.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()[:, :, ::-1]
        maker.put(cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes(), key, pixels.shape)
    maker.close()


if __name__ == "__main__":
    main()
