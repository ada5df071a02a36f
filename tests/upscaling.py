"""Small networks for the tests of upscaling, with outcomes that are known or depend on all that they may depend on."""

from pathlib import Path
from typing import Any, Optional, Tuple

import numpy as np
import torch

from quantnas_sr.deploy.network import Network
from quantnas_sr.deploy.onnx.onnx_format import sealed
from quantnas_sr.search_space import DerivedNetwork, Genotype, get_search_space


def derived(
    search_space: str = "basic",
    operation: str = "simple_3x3",
    bits: int = 32,
    norm: str = "batch",
    scale: int = 2,
    num_feat: int = 12,
    num_block: int = 1,
    **chosen: Tuple[str, int],
) -> DerivedNetwork:
    """A network with one choice in every slot, but for the ones given by name, and everything in it random."""
    slots = dict.fromkeys(get_search_space(search_space).slots(scale, num_feat, num_block), (operation, bits))
    slots.update(chosen)
    sizes = {"scale": scale, "num_feat": num_feat, "num_block": num_block, "norm": norm}
    entries = {name: {"operation": op, "bits": b} for name, (op, b) in slots.items()}
    data = {"genotype_version": 1, "search_space": search_space, **sizes, "slots": entries}
    network = DerivedNetwork(Genotype.from_dict(data)).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
    return network


def nearest(scale: int = 2) -> DerivedNetwork:
    """A network that repeats every pixel ``scale`` times in both directions, exactly."""
    removed = dict.fromkeys(("body_0", "body_1", "skip", "tail_0", "tail_1"), ("zero", 32))
    network = derived(operation="simple_1x1", norm="none", scale=scale, num_feat=12, **removed)
    state = network.state_dict()
    for name, channels in (("head.0", 12), ("head.1", 12), ("upsample.0", 3 * scale**2)):
        (key,) = [
            k for k in state if k.startswith(f"skeleton.{name}") and k.endswith(".weight") and state[k].dim() == 4
        ]
        state[key].zero_()
        for channel in range(channels if name == "upsample.0" else 3):
            colour = channel // scale**2 if name == "upsample.0" else channel
            # the body adds its input to itself
            state[key][channel, colour] = 0.5 if name == "upsample.0" else 1.0
    network.load_state_dict(state)
    return network


def checkpoint(path: Path, network: DerivedNetwork) -> Path:
    """The ``.pth`` of a network, as BasicSR saves it."""
    torch.save({"params": network.state_dict()}, path)
    return path


def enlarged(pixels: np.ndarray, scale: int = 2) -> np.ndarray:
    """What `nearest` makes of an image."""
    return pixels.repeat(scale, axis=0).repeat(scale, axis=1)


class ModuleNetwork(Network):
    """A module that is not in a file."""

    def __init__(self, module: torch.nn.Module, scale: int, halo: Optional[int]) -> None:
        self.module, self.scale, self.halo = module, scale, halo

    def __call__(self, x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self.module(torch.from_numpy(x)).numpy()


def write_onnx(path: Path, scale: int = 2, halo: str = "1", **changed: Any) -> Path:
    """An ``.onnx`` with our metadata: a random 3x3 convolution and depth-to-space.

    ``changed``: entries of the metadata by the last part of their names; None removes one.
    """
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).uniform(0, 0.07, (3 * scale**2, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["lq", "weight"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("DepthToSpace", ["features"], ["sr"], blocksize=scale, mode="CRD"),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("lq", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("sr", TensorProto.FLOAT, ["n", 3, "sh", "sw"])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    metadata = {
        "version": "1",
        "scale": str(scale),
        "halo": halo,
        "bits": "8",
        "genotype": "",
        "command": "",
        **changed,
    }
    helper.set_model_props(model, {f"quantnas_sr.{k}": v for k, v in metadata.items() if v is not None})
    path.write_bytes(sealed(model.SerializeToString()))
    return path
