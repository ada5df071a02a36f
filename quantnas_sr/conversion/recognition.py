"""What network a checkpoint is of: this package's own description in it, an arch that the user names, or spandrel."""

import importlib.util
import sys
from pathlib import Path
from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence

import torch
from torch import Tensor, nn

from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.bounds import LIMITS, bounded, limits_of
from quantnas_sr.checkpoints import describes_network, load_arch, network_of
from quantnas_sr.cost.dry_run import Shape, name_of, output_shape
from quantnas_sr.errors import CheckpointError, MissingExtraError, NetworkError, OptionError, printable
from quantnas_sr.mixed_precision.base_network import build
from quantnas_sr.mixed_precision.merging import is_block, merge
from quantnas_sr.options.base import load_options
from quantnas_sr.options.numbers import to_numbers
from quantnas_sr.pth import check_state, key_of, read_pth
from quantnas_sr.registration import SUFFIX
from quantnas_sr.values.plain_yaml import PlainYamlError, parse_yaml


class Recognized(NamedTuple):
    """A network in full precision.

    Attributes:
        arch: ``type`` of a registered arch, and its options.
        state: its weights, under the network's own keys.
        name: of its class, for people.
    """

    arch: Dict[str, Any]
    state: Dict[str, Tensor]
    name: str


def recognize(path: Path, arch: Optional[Mapping[str, Any]] = None, param_key: Optional[str] = None) -> Recognized:
    """The network of a checkpoint, its re-parameterised blocks merged (see `MergedArch`).

    Args:
        path: a ``.pth`` or ``.safetensors``.
        arch: the network, where the user says it; see `arch_of_words`.
        param_key: ``params`` or ``params_ema``; by default the better, see `pth.key_of`.

    Raises:
        CheckpointError: the file cannot be read, or nobody recognises it; the network is quantized already.
        OptionError: the arch cannot be built.
        NetworkError: it is recognised, but does not make one larger image of one image.
    """
    found = _recognized(Path(path), arch, param_key)
    network = build(found.arch).eval()
    network.load_state_dict(found.state)
    given, made = output_shape(network)
    _check_makes_images(network, given, made)
    return _merged(found, network, given)


def _recognized(path: Path, arch: Optional[Mapping[str, Any]], param_key: Optional[str]) -> Recognized:
    if arch is not None:
        network = load_arch(arch, path, "--arch", param_key)
        return Recognized(dict(arch), network.state_dict(), str(arch["type"]))
    if path.suffix == ".safetensors":
        return _by_spandrel(path)
    content = read_pth(path)
    state = content.get(key_of(content, param_key), content) if isinstance(content, dict) else content
    if isinstance(state, dict) and describes_network(state):
        return _of_description(path, state)
    return _by_spandrel(path, state)


def _of_description(path: Path, state: Mapping[str, Any]) -> Recognized:
    network = network_of(state, path)
    if not isinstance(network, QuantizedArch) or any(network.quantized_layers()):
        raise CheckpointError(f"{path}: is quantized already; `quantnas export` writes it as an integer file")
    arch = network.arguments["arch"]
    return Recognized(arch, network.network.state_dict(), str(arch["type"]).removesuffix(SUFFIX))


def _by_spandrel(path: Path, state: Any = None) -> Recognized:
    """Of a state dict, or of the file itself."""
    try:
        import spandrel
    except ImportError:
        raise MissingExtraError(
            f"{path}: does not say what network it is of. `--arch` names it; recognising it", "spandrel", "spandrel"
        ) from None
    if state is not None and not isinstance(state, dict):
        raise CheckpointError(f"{path}: not a checkpoint of weights")
    check_state(state or {}, path)
    try:
        with bounded(most=LIMITS if state is None else limits_of(state)):
            loader = spandrel.ModelLoader()
            found = loader.load_from_file(path) if state is None else loader.load_from_state_dict(state)
    except spandrel.UnsupportedModelError:
        raise CheckpointError(
            f"{path}: spandrel recognises no network in it. Allowed: `--arch TYPE key=value ...` for a registered arch"
        ) from None
    except Exception as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path}: cannot be read as a network ({printable(line[:200])})") from None
    network, name = found.model, type(found.model).__name__
    if not isinstance(found, spandrel.ImageModelDescriptor) or found.purpose != "SR":
        raise NetworkError(f"{path}: {name} is a network for something else than super-resolution")
    arch = {"type": "SpandrelArch", "model": name, "hyperparameters": _plain(network.hyperparameters)}
    state = {f"model.{key}": tensor.float() for key, tensor in network.state_dict().items()}
    return Recognized(arch, state, name)


def _check_makes_images(network: nn.Module, given: Shape, made: Shape) -> None:
    """Raise a NetworkError for a network that does not make one image, equally large or larger, of one image."""
    scale = made[-1] // given[-1] if len(made) == 4 else 0
    if scale < 1 or made[1:] != (given[1], *(scale * side for side in given[2:])):
        name, sizes = name_of(network), " and ".join("x".join(map(str, shape[1:])) for shape in (given, made))
        raise NetworkError(f"{name} does not make an image of an image, equally large or larger (values: {sizes})")


@torch.no_grad()
def _merged(found: Recognized, network: nn.Module, shape: Shape) -> Recognized:
    """A network with its re-parameterised blocks merged; itself, if it has none, or does not compute the same then.

    Args:
        found: the network.
        network: built of it, with its weights; it is changed.
        shape: of an input that it takes.
    """
    if not any(map(is_block, network.modules())):
        return found
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    expected = network(x)
    merge(network)
    if not torch.allclose(network(x), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max())):
        return found
    state = {f"network.{key}": tensor for key, tensor in network.state_dict().items()}
    return found._replace(arch={"type": "MergedArch", "arch": found.arch}, state=state)


def _plain(arguments: Mapping[str, Any]) -> Dict[str, Any]:
    """The arguments of a class of spandrel without classes and functions, which no checkpoint determines.

    They are what the class has as defaults, such as ``norm_layer`` of SwinIR.
    """
    return {key: value for key, value in arguments.items() if not callable(value)}


def arch_of_words(words: Sequence[str]) -> Dict[str, Any]:
    """The options of a network from ``--arch``: an options file, or a type and ``key=value``.

    Raises:
        OptionError: the file has no ``network_g``, or a word is not ``key=value``.

    >>> arch_of_words(["RFDN", "num_feat=50", "upscale=4"])
    {'type': 'RFDN', 'num_feat': 50, 'upscale': 4}
    """
    if len(words) == 1 and words[0].endswith((".yml", ".yaml")):
        return _arch_of_file(words[0])
    arch: Dict[str, Any] = {"type": words[0]}
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise OptionError(f"--arch: {word!r} is not key=value, such as num_feat=50")
        try:
            arch[key] = parse_yaml(value)
        except PlainYamlError:
            raise OptionError(f"--arch {key}: {value!r} is not a value that YAML can read") from None
    to_numbers(arch)
    return arch


def _arch_of_file(path: str) -> Dict[str, Any]:
    try:
        options = load_options(path)
    except (OSError, PlainYamlError) as error:
        raise OptionError(f"--arch: {path} cannot be read ({' '.join(str(error).split())[:120]})") from None
    network = options.get("network_g") if isinstance(options, dict) else None
    if not isinstance(network, dict):
        raise OptionError(f"--arch: {path} has no network_g. Allowed: an options file, or TYPE key=value ...")
    to_numbers(network)
    wraps = str(network.get("type")).startswith("QuantizedArch")
    return dict(network["arch"]) if wraps and isinstance(network.get("arch"), dict) else dict(network)


def import_file(path: str) -> None:
    """Run a Python file of the user's own, which registers networks.

    Raises:
        OptionError: it is not there, or fails.
    """
    file = Path(path)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if not file.is_file() or spec is None:
        raise OptionError(f"--import: there is no Python file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise OptionError(f"--import: {path} fails: {type(error).__name__}: {' '.join(str(error).split())}") from error
