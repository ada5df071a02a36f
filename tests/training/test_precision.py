"""Mixed precision: what runs in it, what does not, and the scale of gradients."""

import pytest
import torch
from torch import nn

from quantnas_sr.models.precision import MixedPrecision, OptimizerThatSteps
from quantnas_sr.system import c_library
from quantnas_sr.system.allocator import keep_freed_memory

TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
every_type = pytest.mark.parametrize("amp", TYPES)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.seen = None

    def forward(self, x):
        y = self.conv(x)
        self.seen = y.dtype
        return y


def step_of(amp, x, scale_of_loss=1.0, lr=0.1):
    """One training step as BasicSR writes it; returns the network and the precision."""
    torch.manual_seed(0)
    net = Net()
    precision = MixedPrecision(amp, "cpu")
    precision.attach(net)
    optimizer = OptimizerThatSteps(
        torch.optim.SGD(net.parameters(), lr=lr), lambda own: precision.step(own, lambda scale: True)
    )
    with precision.scaling_output():
        optimizer.zero_grad()
        (net(x).abs().mean() * scale_of_loss).backward()
        optimizer.step()
    return net, precision


@every_type
def test_training_passes_run_in_the_type_and_give_float32(amp):
    net = MixedPrecision(amp, "cpu").attach(Net())
    y = net(torch.randn(1, 3, 8, 8))
    assert net.seen is TYPES[amp]
    assert y.dtype is torch.float32
    y.sum().backward()
    assert net.conv.weight.grad.dtype is torch.float32


@every_type
def test_evaluation_stays_in_float32(amp):
    net = MixedPrecision(amp, "cpu").attach(Net()).eval()
    x = torch.randn(1, 3, 8, 8)
    assert torch.equal(net(x), net.conv(x))
    assert net.seen is torch.float32


@pytest.mark.parametrize("amx, expected", [(True, torch.bfloat16), (False, torch.float32), (None, torch.float32)])
def test_auto_is_bfloat16_where_a_cpu_multiplies_in_it(amx, expected, monkeypatch):
    if amx is None:
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    else:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": amx}, raising=False)
    net = MixedPrecision("auto", "cpu").attach(Net())
    net(torch.randn(1, 3, 8, 8))
    assert net.seen is expected


@pytest.mark.parametrize("native", [True, False])
def test_auto_asks_a_gpu_whether_it_emulates_bfloat16(native, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    assert MixedPrecision("auto", "cuda").dtype is (torch.bfloat16 if native else None)


def test_without_amp_nothing_is_attached():
    net = MixedPrecision("none", "cpu").attach(Net())
    net(torch.randn(1, 3, 8, 8))
    assert net.seen is torch.float32


@every_type
def test_autocast_ends_with_the_pass_even_when_it_fails(amp):
    net = MixedPrecision(amp, "cpu").attach(Net())
    with pytest.raises(RuntimeError):
        net(torch.randn(1, 5, 8, 8))
    assert not torch.is_autocast_enabled("cpu")


@every_type
def test_a_step_moves_the_weights_as_in_float32(amp):
    x = torch.randn(4, 3, 16, 16)
    expected, ours = step_of("none", x)[0], step_of(amp, x)[0]
    torch.manual_seed(0)
    start = Net().conv.weight
    torch.testing.assert_close(ours.conv.weight - start, expected.conv.weight - start, rtol=0.05, atol=1e-4)


def test_gradients_below_float16s_smallest_number_arrive():
    """A loss of 1e-7 has gradients that float16 rounds to zero unless they are scaled."""
    x = torch.randn(4, 3, 16, 16)
    expected, ours = step_of("none", x, 1e-7, lr=1e6)[0], step_of("float16", x, 1e-7, lr=1e6)[0]
    torch.manual_seed(0)
    start = Net().conv.weight
    torch.testing.assert_close(ours.conv.weight - start, expected.conv.weight - start, rtol=0.05, atol=1e-3)


def test_a_step_with_an_infinite_gradient_is_left_out_and_lowers_the_scale():
    net, precision = step_of("float16", torch.randn(4, 3, 16, 16), 1e6)
    torch.manual_seed(0)
    assert torch.equal(net.conv.weight, Net().conv.weight)
    assert precision.scaler.get_scale() == 2.0**15


def test_keeping_freed_memory_can_be_asked_for_twice():
    assert keep_freed_memory() == keep_freed_memory()


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_where_the_c_library_has_no_such_setting_it_is_not_looked_for(platform, monkeypatch):
    """``ctypes.CDLL(None)`` raises a TypeError on Windows."""

    def refuse(name):
        raise TypeError("bad argument type for built-in operation")

    monkeypatch.setattr(c_library.sys, "platform", platform)
    monkeypatch.setattr(c_library.ctypes, "CDLL", refuse)
    assert keep_freed_memory.__wrapped__() is False


def test_a_c_library_without_the_setting_is_left_alone(monkeypatch):
    """musl, on Alpine Linux."""
    monkeypatch.setattr(c_library.sys, "platform", "linux")
    monkeypatch.setattr(c_library.ctypes, "CDLL", lambda name: object())
    assert keep_freed_memory.__wrapped__() is False
