import copy
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from moga_st import kernels
from moga_st.convert import convert, publish, rename
from moga_st.errors import BadInput
from moga_st.models import to_device
from moga_st.models.moga import DropPath, MogaBlock, MultiOrderDepthwise
from moga_st.models.moganet import SIZES, MogaNet, MogaNetConfig
from tests.conftest import GOLDEN


@pytest.mark.parametrize("double_silu", [False, True])
def test_moganet_equals_the_published_implementation(golden, tmp_path, double_silu):
    data = golden(f"moganet_tiny_force_fp32_{double_silu}")
    # OpenMixup's dialect ("backbone.") is the one whose weights need the doubled SiLU
    published = {k[3:]: torch.from_numpy(v) for k, v in data.items() if k.startswith("sd/")}
    if double_silu:
        published = publish(rename(published, "moganet"), "openmixup")
    path = tmp_path / "moganet.pth"
    torch.save({"state_dict": published}, path)
    net, config, about = convert(path, "moganet")
    given = json.loads(str(data["config"]))
    assert isinstance(config, MogaNetConfig)
    assert list(config.widths) == given["embed_dims"]
    assert list(config.depths) == given["depths"]
    assert list(config.ffn_ratios) == given["ffn_ratios"]
    assert config.double_silu == double_silu
    assert about["dialect"] == ("openmixup" if double_silu else "moganet")
    with torch.no_grad():
        y = net.eval()(torch.from_numpy(data["x"]))
    np.testing.assert_allclose(y.numpy(), data["y"], atol=1e-5)


@pytest.mark.parametrize(
    ("size", "name"),
    [("xt", "xtiny"), ("t", "tiny"), ("s", "small"), ("b", "base"), ("l", "large"), ("xl", "xlarge")],
)
def test_every_size_has_the_published_keys_and_shapes(size, name):
    published = json.loads((GOLDEN / "moganet_keys.json").read_text())[name]
    with torch.device("meta"):  # only names and shapes matter, and the largest has 181 M parameters
        own = SIZES[size].build().state_dict()
        renamed = rename({k: torch.empty(s) for k, s in published.items()}, "moganet")
    assert {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in renamed.items()}
    assert {k: list(v.shape) for k, v in publish(own, "moganet").items()} == published


def test_backbone_gives_a_pyramid_and_the_head_its_pooled_top():
    net = MogaNetConfig((8, 16, 24, 32), (1, 1, 1, 1), classes=5).build().eval()
    x = torch.rand(2, 3, 64, 96)
    features = net.features(x)
    assert [tuple(f.shape[1:]) for f in features] == [(8, 16, 24), (16, 8, 12), (24, 4, 6), (32, 2, 3)]
    torch.testing.assert_close(net(x), net.head(features[-1].mean((2, 3))))
    with pytest.raises(BadInput, match=r"expected \(b, 3, h, w\)"):
        net(x[:, :1])


def test_multi_order_depthwise_equals_its_definition_channel_by_channel():
    """Each output order is its own kernel on its own channels of the first convolution: the slow version."""
    torch.manual_seed(0)
    module, x = MultiOrderDepthwise(16).double(), torch.randn(2, 16, 9, 11, dtype=torch.float64)
    first = F.conv2d(x, module.dw_low.weight, module.dw_low.bias, padding=2, groups=16)
    assert module.dw_low.bias is not None
    columns = []
    for c in range(16):
        if c < 2:  # 1/8: identity of the first
            columns.append(first[:, c])
        else:  # 3/8: 5x5 dilated by 2; 4/8: 7x7 dilated by 3
            conv, i = (module.dw_middle, c - 2) if c < 8 else (module.dw_high, c - 8)
            assert conv.bias is not None
            k, d = conv.weight.shape[-1], 2 if c < 8 else 3
            padded = F.pad(first[:, c], [d * (k // 2)] * 4)
            out = conv.bias[i].expand(2, 9, 11)
            for u in range(k):
                for v in range(k):
                    out = out + conv.weight[i, 0, u, v] * padded[:, u * d : u * d + 9, v * d : v * d + 11]
            columns.append(out)
    torch.testing.assert_close(module(x), module.mix(torch.stack(columns, 1)))


def test_block_starts_as_nearly_the_identity_and_has_right_gradients():
    torch.manual_seed(0)
    block = MogaBlock(8, ffn_ratio=2).double()
    x = torch.randn(2, 8, 5, 6, dtype=torch.float64, requires_grad=True)
    # layer scales of 1e-5 leave the input almost alone
    assert (block(x) - x).abs().max() < 1e-3
    for scale in (block.scale1, block.scale2, block.spatial.sigma, block.channel.sigma):
        torch.nn.init.normal_(scale)
    block.eval()
    assert torch.autograd.gradcheck(block, (x,), fast_mode=True)


@pytest.mark.parametrize("channels", [0, 12, -8])
def test_block_refuses_channels_it_cannot_split(channels):
    with pytest.raises(BadInput, match=f"multiple of 8 channels, got {channels}"):
        MogaBlock(channels)


def test_drop_path_keeps_the_expectation_and_drops_whole_examples():
    torch.manual_seed(0)
    x = torch.ones(4000, 3, 2)
    y = DropPath(0.25).train()(x)
    kept = y.flatten(1)
    assert ((kept == 0).all(1) | (kept == 1 / 0.75).all(1)).all()
    assert abs(y.mean().item() - 1.0) < 0.03
    assert DropPath(0.25).eval()(x) is x


def test_fan_out_initialisation():
    torch.manual_seed(0)
    net = MogaNet(SIZES["xt"])
    dense, depthwise = (net.get_submodule(f"stages.3.blocks.0.{n}") for n in ("spatial.gate", "channel.dw"))
    assert isinstance(dense, torch.nn.Conv2d)
    assert isinstance(depthwise, torch.nn.Conv2d)
    assert abs(dense.weight.std().item() / (2 / 192) ** 0.5 - 1) < 0.03
    assert abs(depthwise.weight.std().item() / (2 / 9) ** 0.5 - 1) < 0.03


def test_a_networks_layout_changes_nothing_but_speed():
    """Outputs and gradients of a block laid out for this machine, and as torch lays it out, in float64."""
    torch.manual_seed(0)
    plain = MogaBlock(16, 4.0).double()
    laid_out = to_device(copy.deepcopy(plain), "cpu")
    x = torch.randn(3, 16, 7, 6, dtype=torch.float64, requires_grad=True)
    found = []
    for net, ours in ((plain, False), (laid_out, True)):
        with kernels.use(ours):
            y = net(x.contiguous(memory_format=torch.channels_last) if ours else x)
            found.append([y, *torch.autograd.grad(y.sin().sum(), [x, *net.parameters()])])
    assert found[1][0].is_contiguous(memory_format=torch.channels_last)
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-11)
