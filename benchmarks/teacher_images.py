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
import torch
from basicsr.utils import FileClient, imfrombytes, img2tensor, tensor2img
from basicsr.utils.lmdb_util import LmdbMaker
from published_networks import NETWORKS, in_float
from tqdm import tqdm


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("--lr", required=True, help="LMDB of low-resolution images")
    parser.add_argument("--output", required=True, help="LMDB to write; its name ends in .lmdb")
    parser.add_argument("--names", nargs="+", choices=NETWORKS, default=["RFDN", "SAFMN", "EFDN", "RLFN"])
    args = parser.parse_args()
    networks = [in_float(name, args.weights) for name in args.names]
    lines = Path(args.lr, "meta_info.txt").read_text(encoding="utf-8").splitlines()
    images = FileClient("lmdb", db_paths=[args.lr], client_keys=["lq"])
    maker = LmdbMaker(args.output, map_size=2**37)
    for line in tqdm(lines):
        key = line.split(".png", 1)[0]
        x = img2tensor(imfrombytes(images.get(key, "lq"), float32=True))[None]
        pixels = tensor2img(torch.stack([network(x) for network in networks]).mean(dim=0))
        maker.put(cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes(), key, pixels.shape)
    maker.close()


if __name__ == "__main__":
    main()
