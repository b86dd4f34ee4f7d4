"""mmpose's lifters against their published sizes and against mathematics.  Where the extra is not installed, only the
tests of what is said then can run."""

import copy
import dataclasses
import importlib
import importlib.util
import subprocess
import sys
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

from moga_st import pretrained
from moga_st.config import ModelConfig
from moga_st.errors import BadInput
from moga_st.integrations.mmpose_import import importing, mmcv_ops
from moga_st.integrations.mmpose_lifters import (
    MMPoseDSTFormerConfig,
    MMPoseSimpleBaselineConfig,
    MMPoseTCNConfig,
)

Net = TypeVar("Net", bound=nn.Module)
needs_mmpose = pytest.mark.skipif(
    importlib.util.find_spec("mmpose") is None, reason="mmpose is not installed: pip install 'moga-st[mmpose]'"
)
SMALL = MMPoseDSTFormerConfig(frames=9, width=16, depth=2, heads=4, head_width=24)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def varied(net: Net) -> Net:
    """The net in evaluation with parameters and batch-norm statistics far from their simple initial values."""
    g = torch.Generator().manual_seed(1)
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            noise = torch.rand(value.shape, generator=g) - 0.5
            value += noise.abs() if name.endswith("running_var") else 0.3 * noise
    return net.eval()


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


# --- without mmpose


@pytest.mark.parametrize("config", [MMPoseTCNConfig(), MMPoseSimpleBaselineConfig(), MMPoseDSTFormerConfig()])
def test_without_mmpose_it_says_how_to_get_it(monkeypatch, config: ModelConfig):
    monkeypatch.setitem(sys.modules, "mmpose", None)  # what makes `import mmpose` fail
    with pytest.raises(BadInput, match=r"pip install 'moga-st\[mmpose\]'"):
        config.build()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (MMPoseTCNConfig(frames=3), "expected 1 or a power of 3 from 9 on"),
        (MMPoseTCNConfig(frames=28), "got 28"),
        (MMPoseTCNConfig(frames=0), "got 0"),
        (MMPoseTCNConfig(channels=4), "TCN channels: expected 2 .* got 4"),
        (MMPoseTCNConfig(width=0), "width: expected at least 1"),
        (MMPoseSimpleBaselineConfig(blocks=0), "SimpleBaseline blocks: expected at least 1"),
        (MMPoseDSTFormerConfig(frames=0), "frames: expected at least 1"),
        (MMPoseDSTFormerConfig(channels=1), "DSTFormer channels: expected 2 .* got 1"),
        (MMPoseDSTFormerConfig(width=100), "8 heads do not divide width 100"),
    ],
)
def test_bad_configs_are_refused(config: ModelConfig, message: str):
    with pytest.raises(BadInput, match=message):
        config.build()


def test_configs_survive_json():
    for config in (MMPoseTCNConfig(frames=81), MMPoseSimpleBaselineConfig(blocks=3), SMALL):
        assert ModelConfig.from_dict(config.to_dict()) == config


# --- the import


@pytest.mark.parametrize("absent", ["mmpose", "mmcv", "mmdet"])
def test_recipes_load_and_build_says_so_where_mmpose_cannot_be_imported(absent: str):
    """Without it, and with an installation that is broken; importing the lifters is what recipes do."""
    code = (
        f"import sys; sys.modules[{absent!r}] = None; from moga_st.integrations.mmpose_lifters import *\n"
        "try: MMPoseTCNConfig(frames=9, width=8).build()\nexcept BadInput as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "install it with: pip install 'moga-st[mmpose]'" in run.stdout, run.stderr


@needs_mmpose
def test_the_stand_in_is_there_for_the_import_only():
    before = sys.modules.get("mmcv.ops")
    with importing("this test"), mmcv_ops():  # as it is used: importing a part of mmcv-lite warns
        operator = importlib.import_module("mmcv.ops").DeformConv2d
        assert issubclass(operator, nn.Module)
    assert sys.modules.get("mmcv.ops") is before
    if importlib.util.find_spec("mmcv._ext") is None:
        with pytest.raises(ImportError, match="DeformConv2d needs the compiled mmcv"):
            operator(1, 1, 3)
        with pytest.raises(ImportError):  # other packages see that mmcv-lite has no operators
            importlib.import_module("mmcv.ops")


@needs_mmpose
def test_the_stand_in_leaves_even_when_the_import_fails():
    before = sys.modules.get("mmcv.ops")
    with pytest.raises(RuntimeError, match="half way"), importing("this test"), mmcv_ops():
        raise RuntimeError("half way")
    assert sys.modules.get("mmcv.ops") is before


def test_a_compiled_mmcv_gets_no_stand_in(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: {"mmcv._ext": "compiled"}[name])
    ops = object()
    monkeypatch.setitem(sys.modules, "mmcv.ops", ops)
    with mmcv_ops():
        assert sys.modules["mmcv.ops"] is ops
    assert sys.modules["mmcv.ops"] is ops


@needs_mmpose
def test_building_is_quiet_and_leaves_no_stand_in():
    """In a process of its own, for the import happens once; -W error makes any warning a failure."""
    code = (
        "import sys; from moga_st.integrations.mmpose_lifters import *;"
        "MMPoseTCNConfig(frames=9, width=8).build(); MMPoseDSTFormerConfig(width=16, depth=1).build();"
        "print(type(sys.modules.get('mmcv.ops')).__name__)"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr == ""
    compiled = importlib.util.find_spec("mmcv._ext") is not None
    assert run.stdout.strip() == ("module" if compiled else "NoneType")


@needs_mmpose
def test_nothing_is_registered_before_it_is_asked_for():
    """Not by recipes, nor by listing networks; then by a call, or by the import that a config of mmpose's can do."""
    for asked in ("from moga_st.integrations.mmpose import register; register()", "import moga_st.integrations.mmpose"):
        code = (
            "import moga_st.integrations.mmpose_2d\n"
            "from moga_st.integrations.mmpose_lifters import import_mmpose; import_mmpose()\n"
            "from moga_st.config import ModelConfig; assert 'mmpose_tcn' in ModelConfig.kinds()\n"
            "from mmpose.registry import DATASETS, MODELS\n"
            "assert MODELS.get('MogaNet') is None and MODELS.get('MogaLifter') is None\n"
            f"{asked}\n"
            "print(MODELS.get('MogaNet').__name__, MODELS.get('MogaLifter').__name__, "
            "DATASETS.get('MogaPreparedDataset').__name__)"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert run.stdout.split() == ["MogaNet", "MogaLifter", "MogaPreparedDataset"], run.stderr


def test_a_weights_file_of_before_finds_the_lifters_where_they_are_now():
    for config in (MMPoseTCNConfig(), MMPoseSimpleBaselineConfig(), SMALL):
        before = {**config.to_dict(), "kind": f"moga_st.integrations.mmpose:{type(config).__name__}"}
        assert ModelConfig.from_dict(before) == config


# --- the temporal convolution network


def tcn_size(frames: int, width: int = 1024) -> int:
    """VideoPose3D's parameters, layer by layer: convolutions before a batch norm have no bias."""
    layers, w = {9: 2, 27: 3, 81: 4, 243: 5}[frames], width
    stem = 34 * w * 3 + 2 * w
    block = w * w * 3 + 2 * w + w * w + 2 * w
    return stem + (layers - 1) * block + w * 51 + 51


@needs_mmpose
@pytest.mark.parametrize(("frames", "published_m"), [(27, 8.56), (81, 12.75), (243, 16.95)])
def test_tcn_has_the_published_size(frames: int, published_m: float):
    count = parameters(MMPoseTCNConfig(frames=frames).build())
    assert count == tcn_size(frames)
    assert round(count / 1e6, 2) == published_m


@needs_mmpose
@pytest.mark.parametrize("frames", [1, 9, 27, 243])
def test_tcn_sees_every_frame_of_a_clip_and_no_other_clip(frames: int):
    net = varied(MMPoseTCNConfig(frames=frames, width=64).build())  # wide: some ReLU passes for each frame
    x = random(2, frames, 17, 2).requires_grad_()
    y = net(x)
    assert y.shape == (2, 1, 17, 3)
    (grad,) = torch.autograd.grad(y[0].square().sum(), x)
    assert (grad[0].abs().sum((1, 2)) > 0).all()  # the first and the last frame too
    assert (grad[1] == 0).all()


@needs_mmpose
@pytest.mark.parametrize("frames", [26, 28, 81])
def test_tcn_refuses_other_lengths(frames: int):
    net = MMPoseTCNConfig(width=8).build()
    with pytest.raises(BadInput, match=r"expected \(b, 27, 17, c\).*cut or pad clips to 27 frames"):
        net(random(1, frames, 17, 2))


@needs_mmpose
@pytest.mark.parametrize("frames", [9, 27, 81])
def test_strided_tcn_equals_the_dilated_one(frames: int):
    net = varied(MMPoseTCNConfig(frames=frames, width=8).build().double())
    layers = len(net.config.kernels)
    dilated = type(net.backbone)(34, stem_channels=8, num_blocks=layers - 1, kernel_sizes=(3,) * layers)
    dilated.double().load_state_dict(net.backbone.state_dict())
    dilated.eval()
    clip = random(2, frames + 4, 17, 2).double()
    every = net.head.conv(dilated(clip.flatten(2).mT)[-1])  # (b, 51, 5): one pose for each window of the clip
    assert every.shape == (2, 51, 5)
    for start in range(5):
        window = net(clip[:, start : start + frames])
        torch.testing.assert_close(window.flatten(1), every[..., start], rtol=0, atol=1e-12)


@needs_mmpose
def test_tcn_equals_its_equations():
    """VideoPose3D written out: matrix products over frame triples, batch norm, ReLU, residual of the middle."""
    net = varied(MMPoseTCNConfig(frames=9, width=8).build().double())
    w = net.state_dict()
    x = random(3, 9, 17, 2).double()

    def layer(x: Tensor, name: str) -> Tensor:  # (b, t, channels)
        kernel, bn = w[f"{name}.conv.weight"], f"{name}.bn"
        size = kernel.shape[-1]
        out = sum(x[:, i::size] @ kernel[..., i].T for i in range(size))
        out = (out - w[f"{bn}.running_mean"]) / (w[f"{bn}.running_var"] + 1e-5).sqrt()
        return (out * w[f"{bn}.weight"] + w[f"{bn}.bias"]).relu()

    h = layer(x.reshape(3, 9, 34), "backbone.expand_conv")
    inner = layer(layer(h, "backbone.tcn_blocks.0.conv1.0"), "backbone.tcn_blocks.0.conv2.0")
    out = (h[:, 1::3] + inner) @ w["head.conv.weight"][..., 0].T + w["head.conv.bias"]
    torch.testing.assert_close(net(x), out.reshape(3, 1, 17, 3), rtol=0, atol=1e-12)


@needs_mmpose
def test_simple_baseline_has_the_published_size():
    assert parameters(MMPoseSimpleBaselineConfig().build()) == 34 * 1024 + 4 * 1024**2 + 5 * 2 * 1024 + 1024 * 51 + 51
    assert round(parameters(MMPoseSimpleBaselineConfig().build()) / 1e6, 2) == 4.29


@needs_mmpose
def test_simple_baseline_equals_its_equations():
    """Linear layers on single frames, batch norm, ReLU, and a residual around each two of them."""
    net = varied(MMPoseSimpleBaselineConfig(width=8).build().double())
    w = net.state_dict()

    def layer(x: Tensor, name: str) -> Tensor:
        bn = f"{name}.bn"
        out = x @ w[f"{name}.conv.weight"][..., 0].T - w[f"{bn}.running_mean"]
        return (out / (w[f"{bn}.running_var"] + 1e-5).sqrt() * w[f"{bn}.weight"] + w[f"{bn}.bias"]).relu()

    x = random(3, 1, 17, 2).double()
    h = layer(x.reshape(3, 34), "backbone.expand_conv")
    for block in ("backbone.tcn_blocks.0", "backbone.tcn_blocks.1"):
        h = h + layer(layer(h, f"{block}.conv1.0"), f"{block}.conv2.0")
    out = h @ w["head.conv.weight"][..., 0].T + w["head.conv.bias"]
    torch.testing.assert_close(net(x), out.reshape(3, 1, 17, 3), rtol=0, atol=1e-12)


@needs_mmpose
def test_dropout_rates_are_those_of_the_config():
    rates = {
        m.p for m in MMPoseTCNConfig(frames=9, width=8, dropout=0.1).build().modules() if isinstance(m, nn.Dropout)
    }
    assert rates == {0.1}
    net = MMPoseDSTFormerConfig(frames=9, width=16, depth=3, heads=4, dropout=0.2, drop_path=0.4).build()
    assert net.backbone.pos_drop.p == 0.2
    assert [getattr(b.drop_path, "drop_prob", 0) for b in net.backbone.blocks_st] == pytest.approx([0, 0.2, 0.4])


@needs_mmpose
@pytest.mark.parametrize("config", [MMPoseTCNConfig(frames=9, width=16), MMPoseSimpleBaselineConfig(), SMALL])
def test_weights_files_of_lifters_are_loaded_again(tmp_path, config: ModelConfig):
    net = config.build().eval()
    pretrained.export_weights(tmp_path / "w.safetensors", net, config, {})
    x = random(1, *config.example_shape)
    with torch.no_grad():
        again = pretrained.load_model(tmp_path / "w.safetensors").eval()(x)
        torch.testing.assert_close(again, net(x), rtol=0, atol=0)


# --- DSTFormer


def dstformer_size(frames: int, w: int, depth: int, ratio: int, head: int) -> int:
    """MotionBERT's parameters: a layer holds 2 streams of 2 attentions, 2 MLPs and 4 layer norms, and the fusion."""
    attention = w * 3 * w + 3 * w + w * w + w
    mlp = 2 * ratio * w * w + ratio * w + w
    layer = 2 * (2 * attention + 2 * mlp + 4 * 2 * w) + 2 * w * 2 + 2
    embeddings = 3 * w + w + 17 * w + frames * w
    return embeddings + depth * layer + 2 * w + w * head + head + head * 3 + 3


@needs_mmpose
@pytest.mark.parametrize(
    ("width", "ratio", "published_m"), [(512, 2, 42), (256, 4, 16)], ids=["MotionBERT", "MotionBERT-Lite"]
)
def test_dstformer_has_the_published_size(width: int, ratio: int, published_m: int):
    count = parameters(MMPoseDSTFormerConfig(frames=243, width=width, mlp_ratio=ratio).build())
    assert count == dstformer_size(243, width, 5, ratio, 512)
    assert round(count / 1e6) == published_m


@needs_mmpose
def test_dstformer_starts_as_motionbert():
    net = MMPoseDSTFormerConfig(frames=27, width=64, depth=2).build()
    for name, value in net.named_parameters():
        fusion, norm = "attn_regress" in name, "norm" in name
        if name.endswith("bias"):
            assert (value == (0.5 if fusion else 0)).all(), name
        elif fusion or norm:
            assert (value == (1 if norm else 0)).all(), name
        else:
            tolerance = 5 * 0.02 / (2 * value.numel()) ** 0.5  # five standard errors
            assert abs(value.std().item() - 0.02) < tolerance, name


@needs_mmpose
def test_dstformer_is_equivariant_without_its_embeddings():
    """Attention and MLPs know no order: only the two embeddings tell joints and frames apart."""
    net = varied(SMALL.build().double())
    x = random(2, 9, 17, 3).double()
    g = torch.Generator().manual_seed(3)
    frames, joints = torch.randperm(9, generator=g), torch.randperm(17, generator=g)
    for embedding, permute in (
        (net.backbone.temp_embed, lambda a: a[:, frames]),
        (net.backbone.spat_embed, lambda a: a[:, :, joints]),
    ):
        assert (net(permute(x)) - permute(net(x))).abs().max() > 1e-3
        nn.init.zeros_(embedding)
        torch.testing.assert_close(net(permute(x)), permute(net(x)), rtol=0, atol=1e-12)


@needs_mmpose
def test_dstformer_relates_all_frames_and_joints_of_a_clip_and_no_other_clip():
    net = varied(SMALL.build())
    x = random(2, 9, 17, 3).requires_grad_()
    y = net(x)
    assert y.shape == (2, 9, 17, 3)
    (grad,) = torch.autograd.grad(y[0, 4, 8, 2], x)
    assert (grad[0].abs().sum(-1) > 0).all()
    assert (grad[1] == 0).all()


@needs_mmpose
@pytest.mark.parametrize("frames", [8, 10])
def test_dstformer_refuses_other_lengths(frames: int):
    with pytest.raises(BadInput, match=r"expected \(b, 9, 17, c\)"):
        SMALL.build()(random(1, frames, 17, 3))


# --- both


@needs_mmpose
def test_confidence_is_dropped_or_used():
    x = random(2, 9, 17, 3)
    other = torch.cat([x[..., :2], 1 - x[..., 2:]], dim=-1)
    for config in (MMPoseTCNConfig(frames=9, width=16), SMALL):
        without = varied(dataclasses.replace(config, channels=2).build())
        torch.testing.assert_close(without(x), without(x[..., :2]), rtol=0, atol=0)
        torch.testing.assert_close(without(x), without(other), rtol=0, atol=0)
        used = varied(dataclasses.replace(config, channels=3).build())
        assert (used(x) - used(other)).abs().max() > 1e-3
        with pytest.raises(BadInput, match="with 3 channels"):
            used(x[..., :2])


@needs_mmpose
@pytest.mark.parametrize("config", [MMPoseTCNConfig(width=16), MMPoseSimpleBaselineConfig(width=16), SMALL])
def test_every_parameter_learns(config: ModelConfig):
    net = config.build().train()
    # away from the symmetric start, where the head's small weights leave only tiny gradients
    for p in net.parameters():
        p.data += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
    x = random(16, *config.example_shape)
    net(x).square().mean().backward()
    for name, p in net.named_parameters():
        assert p.grad is not None, name
        assert torch.isfinite(p.grad).all(), name
        if name.endswith("qkv.bias"):  # a constant added to all keys cancels in the softmax
            q, k, v = p.grad.chunk(3)
            assert k.abs().max() < 1e-4 * v.abs().max(), name
            assert q.abs().min() > 0, name
        else:
            assert p.grad.abs().max() > 0, name


@needs_mmpose
@pytest.mark.parametrize("config", [MMPoseTCNConfig(frames=9, width=16, dropout=0.0), SMALL])
def test_it_overfits_a_batch(config: ModelConfig):
    net = config.build().train()
    x = random(8, *config.example_shape)
    target = random(8, *net(x).shape[1:]) * 0.3
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = (net(x) - target).norm(dim=-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@needs_mmpose
@pytest.mark.parametrize("config", [MMPoseTCNConfig(frames=9, width=16), SMALL])
def test_copies_and_state_dicts_are_complete(config: ModelConfig):
    net = varied(config.build())
    x = random(2, *config.example_shape)
    fresh = config.build().eval()
    assert (fresh(x) - net(x)).abs().max() > 1e-3
    fresh.load_state_dict(net.state_dict())
    for other in (fresh, copy.deepcopy(net)):
        torch.testing.assert_close(other(x), net(x), rtol=0, atol=0)
