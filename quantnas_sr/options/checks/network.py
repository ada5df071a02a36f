"""``network_g`` and the checkpoint that it starts from."""

import warnings
from pathlib import Path
from typing import Any, Dict, Optional

import torch
from torch import nn

from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.checkpoints import load_as_named
from quantnas_sr.cost.dry_run import output_shape
from quantnas_sr.cost.quantized import check_runs_quantized
from quantnas_sr.errors import CheckpointError, GenotypeError, OptionError
from quantnas_sr.options.checks.building import built, errors_at
from quantnas_sr.options.registered import is_a, registered
from quantnas_sr.pth import PARAM_KEYS, read_pth, read_state
from quantnas_sr.quantization import is_uncalibrated
from quantnas_sr.registration import ARCH_REGISTRY, is_ours
from quantnas_sr.search_space import DerivedNetwork, SearchNetwork, Supernet
from quantnas_sr.values.kinds import MAPPING

Options = Dict[str, Any]


def network_class(network: Any, where: str = "network_g") -> Any:
    """The registered class of a network's options, or a function that builds it.

    Raises:
        OptionError: there is none.
    """
    MAPPING.checked(network, where)
    if network.get("type") is None:
        raise OptionError(f"{where}: the key 'type' is missing")
    return registered(f"{where}.type", network["type"], ARCH_REGISTRY)


def check_network(opt: Options) -> Optional[nn.Module]:
    """Build the network of a run; one of a search space takes no memory. A function of a project is not called: None.

    Raises:
        QuantNASError: it cannot be built, or does not fit the other options.
    """
    network = opt["network_g"]
    cls = network_class(network)
    if opt["model_type"] == "QuantNASSearchModel" and not is_a(cls, SearchNetwork):
        raise OptionError(
            f"network_g: type {network['type']} cannot be searched. Allowed: QuantNASSupernet, QuantizedSupernet"
        )
    if is_a(cls, Supernet):
        network.setdefault("scale", opt.get("scale", 4))
    if not isinstance(cls, type):
        return None
    if not is_ours(cls):
        return built(cls, network, "network_g", device="cpu", separator=": ")
    net = built(cls, network, "network_g", separator=": ")
    _check_scale(opt, net)
    if isinstance(net, QuantizedArch):
        with errors_at("network_g"):
            check_runs_quantized(net)
    return net


def _check_scale(opt: Options, net: nn.Module) -> None:
    given = opt.get("scale")
    if isinstance(net, DerivedNetwork) and given not in (None, net.genotype.scale):
        raise OptionError(f"scale: {given} here, {net.genotype.scale} in the genotype {opt['network_g']['genotype']}")
    if isinstance(net, Supernet) and given not in (None, net.scale):
        raise OptionError(f"scale: {given} here, {net.scale} in network_g. Allowed: the same")


def check_checkpoints(opt: Options, net: Optional[nn.Module]) -> None:
    """Checkpoints that are to be loaded must be there, and of the network that the options describe.

    Args:
        opt: checked options.
        net: of `check_network`. Its weights are replaced.

    Raises:
        QuantNASError: one line that names the file.
    """
    path: Optional[str] = opt["path"].get("pretrain_network_g")
    resumed = opt["path"].get("resume_state")
    if opt["is_train"] and resumed is not None and not Path(resumed).is_file():
        raise OptionError(f"path.resume_state: there is no file {resumed}")
    if path is None:
        return
    if not Path(path).is_file():
        raise OptionError(f"path.pretrain_network_g: there is no file {path}")
    if is_a(network_class(opt["network_g"]), DerivedNetwork):
        state = read_state(path, opt["path"].get("param_key_g", "params"))
        with torch.device("meta"):
            DerivedNetwork(opt["network_g"]["genotype"]).set_extra_state(state["_extra_state"])
    elif net is not None:
        _check_fits(net, path, opt["path"])


def _check_fits(net: nn.Module, path: str, options: Options) -> None:
    """Load the checkpoint as `ExperimentModel.load_network` will do."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # weights that are copied to the device "meta" are gone, as they should be
            content = read_pth(path)
            keys = (options.get("param_key_g", "params"), *reversed(PARAM_KEYS))
            state = next((content[key] for key in keys if isinstance(content.get(key), dict)), content)
            state = {name[7:] if name.startswith("module.") else name: tensor for name, tensor in state.items()}
            net.load_state_dict(state, strict=options.get("strict_load_g", True))
    except RuntimeError as error:
        if "loading state_dict" not in str(error):
            raise OptionError(f"path.pretrain_network_g: {path} is not a checkpoint of weights") from None
        problem = " ".join(str(error).splitlines()[1].split())
        raise OptionError(f"path.pretrain_network_g: {path} does not fit network_g: {problem[:200]}") from None
    except Exception:
        raise OptionError(f"path.pretrain_network_g: {path} is not a checkpoint of weights") from None


def check_teacher(opt: Options, net: Optional[nn.Module]) -> None:
    """The teacher of a training must be there, and make images of the size that the network makes.

    Args:
        opt: checked options.
        net: of `check_network`; without it sizes are not compared.

    Raises:
        QuantNASError: one line that names the key or the file.
    """
    options = opt["train"].get("teacher")
    if options is None:
        return
    try:
        teacher = load_as_named(options, "train.teacher")
    except (CheckpointError, GenotypeError) as error:
        hint = "" if options.get("network") else "; `network:` names the arch of a checkpoint that does not"
        raise OptionError(f"train.teacher.path: {error}{hint}") from None
    if not options.get("full_precision") and is_uncalibrated(teacher):
        raise OptionError(
            f"train.teacher.path: {options['path']}: its activations have no quantization steps yet. "
            "`full_precision: true` takes it as it was trained"
        )
    if net is None:
        return
    (_, made), (_, taught) = output_shape(net), output_shape(teacher)
    if made != taught:
        raise OptionError(
            f"train.teacher: makes images of {taught[-1]}x{taught[-2]}x{taught[1]} where network_g makes "
            f"{made[-1]}x{made[-2]}x{made[1]}. Allowed: the same scale and channels"
        )


def check_weights(opt: Options) -> None:
    """A test needs the weights of a training: those that a network starts from say nothing.

    Raises:
        OptionError: the options name no checkpoint.
    """
    if not opt["is_train"] and opt["path"].get("pretrain_network_g") is None:
        raise OptionError("path.pretrain_network_g: a test needs the .pth of a trained network")
