"""Re-parameterised blocks become one convolution each, which computes the same."""

import pytest
import torch
from basicsr.archs.ecbsr_arch import ECBSR
from torch import nn

from quantnas_sr.archs.merged_arch import MergedArch
from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.checkpoints import load_network
from quantnas_sr.errors import OptionError
from quantnas_sr.mixed_precision.merging import MergedBlock, is_block, merge
from quantnas_sr.mixed_precision.nameable import nameable

OPTIONS = {"num_in_ch": 3, "num_out_ch": 3, "num_block": 1, "num_channel": 4, "with_idt": True, "scale": 2}
ARCH = {"type": "ECBSR", "act_type": "prelu", **OPTIONS}


@pytest.mark.parametrize("act_type", ["prelu", "relu", "linear"])
def test_a_merged_network_computes_the_same(act_type):
    network = ECBSR(act_type=act_type, **OPTIONS).eval()
    x = torch.rand(1, 3, 9, 11)
    with torch.no_grad():
        expected = network(x)
        merge(network)
        torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-5)
    assert not any(map(is_block, network.modules()))
    assert sum(isinstance(module, MergedBlock) for module in network.modules()) == 3


def test_a_merged_block_of_span_has_its_activation():
    spandrel_span = pytest.importorskip("spandrel.architectures.SPAN.__arch.span")
    block = nn.Sequential(spandrel_span.Conv3XC(3, 4, gain1=2, relu=True)).eval()
    x = torch.randn(1, 3, 7, 8)
    with torch.no_grad():
        expected = block(x)
        merge(block)
        torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)
    assert isinstance(block[0], MergedBlock)


def test_networks_without_such_blocks_stay_as_they_are():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    layers = list(network)
    merge(network)
    assert list(network) == layers


def test_a_quantized_one_is_loaded_from_its_checkpoint_alone(tmp_path):
    network = QuantizedArch({"type": "MergedArch", "arch": ARCH})
    network(torch.rand(1, 3, 16, 16))
    torch.save({"params": network.eval().state_dict()}, tmp_path / "net.pth")
    x = torch.rand(1, 3, 12, 14)
    with torch.no_grad():
        assert torch.equal(load_network(tmp_path / "net.pth")(x), network(x))
    assert isinstance(network.network, MergedArch)


def test_a_file_may_name_no_more_networks_in_it_than_without_it():
    nameable({"type": "MergedArch", "arch": ARCH})
    with pytest.raises(OptionError, match="arch: arch: a file may not name VGGFeatureExtractor"):
        nameable({"type": "MergedArch", "arch": {"type": "VGGFeatureExtractor"}})
