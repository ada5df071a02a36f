"""Mutated ``.pth`` and ``.safetensors`` files, and pickles that would run code: ``--count N --seed S``."""

import collections
import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from random import Random
from typing import Any, Callable, Dict, List

import torch
from fuzzing import OF_TEXT, main
from mutations import mutated, mutated_bytes, mutated_text, odd_value

from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.checkpoints import load_arch, load_network
from quantnas_sr.conversion.recognition import recognize
from quantnas_sr.pth import EXTRA_STATE
from quantnas_sr.search_space import DerivedNetwork, Supernet

ESPCN = {"type": "ESPCN", "num_feat": 4}
ARCHS = (
    ESPCN,
    {"type": "MSRResNet", "num_feat": 4, "num_block": 1, "upscale": 2},
    {"type": "SRVGGNetCompact", "num_feat": 4, "num_conv": 1, "upscale": 2},
)
#: What a description may not name: files are read, downloads are made, or code is run.
TEMPTATIONS = (
    {"type": "SpyNet", "load_path": "evil.pth"},
    {"type": "VGGFeatureExtractor", "layer_name_list": ["conv1_1"]},
    {"type": "BasicVSR", "spynet_path": "evil.pth"},
    {"type": "TOFlow", "adapt_official_weights": True},
    {"type": "DFDNet", "num_feat": 4, "dict_path": "evil.pth"},
    {"type": "QuantNASNetwork", "genotype": "/etc/hostname"},
    {"type": "QuantizedArch", "arch": ESPCN, "bits_by_layer": "/etc/hostname"},
    {"type": "SpandrelArch", "model": "CodeFormer", "hyperparameters": {"vqgan_path": "evil.pth"}},
    {"type": "SpandrelArch", "model": "RRDBNet", "hyperparameters": {"num_block": 10**6}},
    {"type": "SwinIR", "img_size": 10**6},
    {"type": "MSRResNet", "num_block": 2**16},
    {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 24000},
    {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 2**16, "num_block": 2**16},
)


class Touches:
    """What a pickle of it does where code is run: it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


class Checkpoints:
    """Files of weights."""

    name = "checkpoints"
    limits = OF_TEXT

    def prepare(self, folder: Path) -> None:
        """Checkpoints of quantized and of derived networks, and bare weights."""
        networks: List[Any] = [QuantizedArch(arch) for arch in ARCHS]
        networks += [QuantizedArch(arch, bits=32) for arch in ARCHS[:2]]
        for space in ("plain", "basic", "rfdn"):
            networks.append(DerivedNetwork(Supernet(space, num_feat=6, num_block=1).genotype()))
        self.states = [network.state_dict() for network in networks]
        self.folder, self.file, self.ran = folder, folder / "net.pth", folder / "ran"
        os.chdir(folder)

    def case(self, rng: Random) -> Callable[[], Any]:
        """Write a file; read it as a network, as weights of a named arch, or as a network to be recognised."""
        state = dict(rng.choice(self.states))
        chance = rng.random()
        self.file = self.folder / ("net.safetensors" if chance >= 0.97 else "net.pth")
        if chance < 0.4:
            self._write({"params": self._described(rng, state)})
        elif chance < 0.6:
            for _ in range(rng.randint(1, 3)):
                odd_tensor(rng, state)
            self._write({rng.choice(("params", "params_ema")): state})
        elif chance < 0.7:
            self._write(contained(rng, state))
        elif chance < 0.88:
            self._write({"params": state}, zipped=rng.random() < 0.7)
            self.file.write_bytes(mutated_bytes(rng, self.file.read_bytes()))
        elif chance < 0.97:
            self.file.write_bytes(payload(rng, self.ran))
        else:
            self.file.write_bytes(safetensors(rng, state))
        return lambda: self._read(rng)

    def _described(self, rng: Random, state: Dict[str, Any]) -> Dict[str, Any]:
        text = bytes(state[EXTRA_STATE].tolist()).decode()
        chance = rng.random()
        if chance < 0.2:
            arch = dict(rng.choice(TEMPTATIONS))
            text = json.dumps({"quantized_arch": {"arch": arch, "bits": 8}, "arch_module": "x"})
        elif chance < 0.8:
            text = json.dumps(mutated(rng, json.loads(text)))
        else:
            text = mutated_text(rng, text) if chance < 0.9 else text[: rng.randrange(len(text))]
        return {**state, EXTRA_STATE: torch.tensor(list(text.encode("utf-8", "surrogatepass")), dtype=torch.uint8)}

    def _write(self, content: Any, zipped: bool = True) -> None:
        torch.save(content, self.file, _use_new_zipfile_serialization=zipped)

    def _read(self, rng: Random) -> Any:
        chance = rng.random()
        try:
            if self.file.suffix == ".safetensors" or chance < 0.25:
                return recognize(self.file)
            if chance < 0.4:
                return load_arch(ESPCN, self.file, "--arch")
            return load_network(self.file)
        finally:
            if self.ran.exists():
                self.ran.rmdir()
                raise AssertionError("code that the file names was run")


def odd_tensor(rng: Random, state: Dict[str, Any]) -> None:
    """Replace, rename or remove one entry of a state dict."""
    name = rng.choice([*state])
    value = state[name]
    if not isinstance(value, torch.Tensor):  # changed already
        del state[name]
        value = torch.zeros(1)
    changes: List[Callable[[], Any]] = [
        lambda: odd_value(rng),
        lambda: value.to(rng.choice((torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool))),
        lambda: value.to(torch.complex64),
        lambda: value.float() * rng.choice((float("nan"), float("inf"), 1e38, 0.0)),
        lambda: value.reshape(-1),
        lambda: value[None],
        lambda: torch.zeros(()),
        lambda: torch.zeros(0),
        lambda: torch.zeros(1).expand(10**6, 10**6),
        lambda: torch.zeros(1).expand(10**5, 10**5),
        lambda: value.to("meta"),
        lambda: value.to_sparse(),
        lambda: torch.sparse_coo_tensor(torch.tensor([[0]]), torch.tensor([1.0]), (10**11,)),
        lambda: torch.quantize_per_tensor(value.float(), 0.1, 0, torch.quint8),
        lambda: torch.nn.Parameter(value.float()),
        lambda: {name: value},
        lambda: [value],
        lambda: value.repeat(2, *[1] * (value.dim() - 1)) if value.dim() and value.numel() < 10**6 else value,
    ]
    chance = rng.random()
    if chance < 0.75:
        try:
            state[name] = rng.choice(changes)()
        except (RuntimeError, TypeError):  # of a tensor that has been changed already
            state[name] = odd_value(rng)
    elif chance < 0.85:
        state.pop(name, None)
    else:
        state[rng.choice((f"{name}x", f"module.{name}", 5, None, ("a",), b"a", "", "a.b.c"))] = value
    if not state:
        state["a"] = torch.zeros(1)


def contained(rng: Random, state: Dict[str, Any]) -> Any:
    """A state dict in a container that is not the right one."""
    deep: Any = state
    for _ in range(rng.choice((1, 3, 200))):
        deep = {"params": deep} if rng.random() < 0.7 else [deep]
    return rng.choice(
        (
            state,
            deep,
            [state],
            {"params": [state]},
            {"params": None, "params_ema": state},
            {"params": {}},
            {"params": state, "params_ema": {}},
            {"params": collections.OrderedDict(state)},
            {5: state},
            {"params": state[EXTRA_STATE]},
            state[EXTRA_STATE],
            5,
            "params",
            None,
            set(),
            {"params": {EXTRA_STATE: odd_value(rng)}},
            {"params": {EXTRA_STATE: state[EXTRA_STATE]}},
        )
    )


def payload(rng: Random, ran: Path) -> bytes:
    """A file whose pickle runs code, takes memory, or names what is no plain data."""
    bad = rng.choice(
        (
            Touches(ran),
            {"params": {EXTRA_STATE: Touches(ran)}},
            {"params": {"a": torch.zeros(1), "b": Touches(ran)}},
            collections.Counter({"a": 2**62}),
            Path("x"),
        )
    )
    forged = (
        pickle.dumps(bad, protocol=rng.choice((0, 2, 4))),
        b"\x80\x02cbuiltins\nbytearray\n" + long_int(rng.choice((10**10, 10**15, -1))) + b"\x85R.",
        b"\x80\x02ctorch\nFloatTensor\n" + long_int(10**11) + b"\x85R.",
        b"\x80\x02ctorch\nTensor\n" + long_int(5 * 10**9) + b"\x85R.",
        b"\x80\x02ctorch.storage\nUntypedStorage\n" + long_int(5 * 10**9) + b"\x85R.",
        b"\x80\x02" + b"(" * 3000 + b"t." + b"." * 10,
        b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".",
        b"\x80\x02X\xff\xff\xff\x7fabc.",
        b"\x80\x02r\xff\xff\xff\x7f.",
        b"\x80\x02NNNNb0000.",
    )
    inner = rng.choice(forged)
    if rng.random() < 0.3:
        inner = mutated_bytes(rng, inner)
    chance = rng.random()
    if chance < 0.3:
        return inner
    buffer = io.BytesIO()
    how = zipfile.ZIP_DEFLATED if chance < 0.5 else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", how) as archive:
        archive.writestr("archive/data.pkl", inner)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", rng.choice(("little", "big", "x")))
        archive.writestr("archive/data/0", b"\0" * (60_000_000 if chance < 0.32 else 8))
    return buffer.getvalue()


def long_int(value: int) -> bytes:
    """A whole number in a pickle."""
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


def safetensors(rng: Random, state: Dict[str, Any]) -> bytes:
    """A file of safetensors with a mutated header."""
    from safetensors.torch import save

    raw = save({name: tensor.contiguous() for name, tensor in state.items()})
    size = struct.unpack("<Q", raw[:8])[0]
    if rng.random() < 0.5:
        return mutated_bytes(rng, raw)
    header = json.dumps(mutated(rng, json.loads(raw[8 : 8 + size]))).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(header) + rng.choice((0, 0, 0, 1, 10**12))) + header + raw[8 + size :]


if __name__ == "__main__":
    main(Checkpoints())
