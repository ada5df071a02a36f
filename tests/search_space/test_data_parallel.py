"""Replicas of a supernet, which `torch.nn.DataParallel` makes for every GPU in every step."""

import sys

import pytest
import torch
from torch.nn.parallel import replicate


def replicas(network, monkeypatch, number=2):
    """Torch's own replicas, with copies on the CPU in place of those that it broadcasts to GPUs."""

    def broadcast(tensors, devices, detach=False):
        return [[t.detach().clone() if detach else t.clone() for t in tensors] for _ in devices]

    module = sys.modules["torch.nn.parallel.replicate"]  # the package has a function of this name
    monkeypatch.setattr(module, "_broadcast_coalesced_reshape", broadcast)
    return replicate(network, list(range(number)))


@pytest.mark.filterwarnings("ignore:nn.ParameterDict is being used with DataParallel")
def test_a_replica_computes_with_its_own_layers_what_the_supernet_computes(supernet, monkeypatch):
    net = supernet(bit_mixer="shared")
    for alphas in net.alphas.values():
        alphas.data.normal_()
    x = torch.rand(2, 3, 8, 8)
    expected = net(x)
    for replica in replicas(net, monkeypatch):
        assert not {id(layer) for _, layer in net.places()} & {id(layer) for _, layer in replica.places()}
        net.zero_grad()
        output = replica(x)
        assert torch.equal(output, expected)
        output.sum().backward()
        assert all(parameter.grad is not None for parameter in net.parameters())
