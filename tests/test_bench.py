import pytest
import torch
from torch import nn

from moga_st.timing import Ceilings, Roofline


def test_roofline_by_hand():
    """A depthwise convolution, bound by bytes, then a 1x1 one, bound by arithmetic; forward and backward."""
    x = torch.rand(2, 16, 8, 8)
    net = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.SiLU(), nn.Conv2d(16, 32, 1))
    with Roofline(Ceilings(flops=4e9, bytes=1e9)) as counted:
        net(x).sum().backward()
    depthwise, dense = 2 * x.numel() * 9, 2 * x.numel() * 32
    grid, out, depthwise_weight, dense_weight = 4 * x.numel(), 8 * x.numel(), 4 * 16 * 9, 4 * 16 * 32
    # the input is no parameter: the depthwise one has a weight gradient only
    assert counted.flops == depthwise * 2 + dense * 3
    bytes_of = {
        "depthwise": 2 * grid + depthwise_weight + 4 * 16,
        "dense": grid + out + dense_weight + 4 * 32,
        "dense backward": out + 2 * grid + 2 * dense_weight + 4 * 32,
        "depthwise backward": 2 * grid + 2 * depthwise_weight + 4 * 16,
    }
    assert counted.bytes == sum(bytes_of.values())
    flops_of = {"depthwise": depthwise, "dense": dense, "dense backward": 2 * dense, "depthwise backward": depthwise}
    assert any(flops_of[k] / 4 > bytes_of[k] for k in flops_of)
    assert any(flops_of[k] / 4 < bytes_of[k] for k in flops_of)
    assert counted.seconds == pytest.approx(sum(max(flops_of[k] / 4, bytes_of[k]) for k in flops_of) / 1e9)
