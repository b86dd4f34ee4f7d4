"""What timm asks of every model in its registry, of ours."""

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

timm = pytest.importorskip("timm", reason="the extra `images` is not installed")

from timm.models import group_modules, group_parameters, is_model, list_pretrained  # noqa: E402
from timm.optim._param_groups import param_groups_weight_decay  # noqa: E402

from moga_st.config import ModelConfig  # noqa: E402
from moga_st.convert import publish  # noqa: E402
from moga_st.errors import BadInput  # noqa: E402
from moga_st.integrations.timm import NAMES, TimmModelConfig, TimmMogaNet, checkpoint_filter_fn  # noqa: E402
from moga_st.models.moganet import SIZES, MogaNetConfig  # noqa: E402
from moga_st.spec import InputSpec  # noqa: E402
from tests.conftest import GOLDEN  # noqa: E402

TINY = MogaNetConfig((8, 16, 24, 32), (1, 2, 1, 1), (2.0, 2.0, 2.0, 2.0))
PUBLISHED_KEYS = json.loads((GOLDEN / "moganet_keys.json").read_text())


def lively(net: nn.Module) -> None:
    """Give a network layer scales and statistics that matter; as it starts a block does next to nothing."""
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, p in [*net.named_parameters(), *net.named_buffers()]:
            if name.endswith(("scale1", "scale2")):
                p.copy_(torch.rand(p.shape, generator=g) * 0.03 + 0.01)
            elif name.endswith(("sigma", "running_var")):
                p.copy_(torch.rand(p.shape, generator=g) + 0.5)
            elif name.endswith(("running_mean", "bias")):
                p.copy_(torch.randn(p.shape, generator=g) * 0.1)


@pytest.fixture
def net() -> TimmMogaNet:
    torch.manual_seed(0)
    net = TimmMogaNet(TINY, num_classes=5).eval()
    lively(net)
    return net


@pytest.mark.parametrize("name", NAMES)
def test_every_size_is_registered_with_a_config_that_fits_it(name):
    assert is_model(name)
    assert f"{name}.in1k" in list_pretrained("moganet*")
    with torch.device("meta"):
        net = timm.create_model(name)
    state, cfg = net.state_dict(), net.pretrained_cfg
    assert {f"{cfg['first_conv']}.weight", f"{cfg['classifier']}.weight"} <= state.keys()
    assert (cfg["input_size"], cfg["pool_size"], cfg["crop_pct"]) == ((3, 224, 224), (7, 7), 0.9)
    assert cfg["interpolation"] == "bicubic"
    assert cfg["url"].endswith(".pth.tar")
    assert f"{name}_sz224_" in cfg["url"]
    published = {k: list(v.shape) for k, v in publish(state, "moganet").items()}
    assert published == PUBLISHED_KEYS[name.removeprefix("moganet_")]
    assert net.num_features == SIZES[NAMES[name]].widths[-1]


@pytest.mark.parametrize("force", [False, True])
def test_published_weights_give_the_published_outputs(golden, force):
    data = golden(f"moganet_tiny_force_fp32_{force}")
    given = json.loads(str(data["config"]))
    config = MogaNetConfig(tuple(given["embed_dims"]), tuple(given["depths"]), tuple(given["ffn_ratios"]))
    published = {k[3:]: torch.from_numpy(v) for k, v in data.items() if k.startswith("sd/")}
    net = TimmMogaNet(config, num_classes=len(published["head.bias"]), attn_force_fp32=force).eval()
    openmixup = publish(checkpoint_filter_fn(published, net), "openmixup")
    for tensors in [published, *([openmixup] if force else [])]:
        net.load_state_dict(checkpoint_filter_fn({f"module.{k}": v for k, v in tensors.items()}, net))
        with torch.no_grad():
            y = net(torch.from_numpy(data["x"]))
        np.testing.assert_allclose(y.numpy(), data["y"], atol=1e-5)
    if not force:
        with pytest.raises(BadInput, match="attn_force_fp32=True"):
            checkpoint_filter_fn(openmixup, net)


def test_create_model_loads_a_published_file_and_adapts_it(tmp_path):
    torch.manual_seed(0)
    saved = TimmMogaNet(SIZES["xt"]).eval()
    lively(saved)
    torch.save({"state_dict": publish(saved.state_dict(), "moganet")}, tmp_path / "x.pth.tar")
    load = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(tmp_path / "x.pth.tar")}}
    x = torch.randn(2, 1, 32, 32).expand(-1, 3, -1, -1)
    with torch.no_grad():
        features = saved.forward_features(x)
        whole = timm.create_model("moganet_xtiny", **load).eval()
        assert torch.equal(whole(x), saved(x))
        grey = timm.create_model("moganet_xtiny", in_chans=1, num_classes=7, **load).eval()
        torch.testing.assert_close(grey.forward_features(x[:, :1]), features, rtol=1e-3, atol=1e-4)
        assert grey(x[:, :1]).shape == (2, 7)
        backbone = timm.create_model("moganet_xtiny", features_only=True, **load).eval()
        torch.testing.assert_close(backbone(x)[-1], features)


def test_weights_go_to_our_own_network_and_back(net):
    ours = copy.deepcopy(TINY)
    own = MogaNetConfig(ours.widths, ours.depths, ours.ffn_ratios, classes=5).build().eval()
    own.load_state_dict(net.state_dict())
    x = torch.randn(2, 3, 64, 32)
    torch.testing.assert_close(net(x), own(x))
    for a, b in zip(net.features(x), own.features(x), strict=True):
        torch.testing.assert_close(a, b)


def test_every_parameter_has_a_gradient(net):
    net.train()(torch.randn(2, 3, 64, 64)).mean().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()] == []
    assert sum(int((p.grad != 0).any()) for p in net.parameters() if p.grad is not None) > 40


def test_heads_can_be_taken_off_and_put_on(net):
    x = torch.randn(2, 3, 64, 64)
    top = net.forward_features(x)
    assert top.shape == (2, 32, 2, 2)
    pooled = net.forward_head(top, pre_logits=True)
    torch.testing.assert_close(pooled, top.mean((2, 3)))
    torch.testing.assert_close(net(x), net.get_classifier()(pooled))
    net.reset_classifier(0)
    torch.testing.assert_close(net(x), pooled)
    assert not any(k.startswith("head") for k in net.state_dict())
    net.reset_classifier(0, "")
    assert torch.equal(net(x), top)
    net.reset_classifier(3, "catavgmax")
    assert net(x).shape == (2, 3)
    assert net.num_classes == 3
    torch.testing.assert_close(net.forward_head(top, pre_logits=True), torch.cat([pooled, top.amax((2, 3))], 1))
    for classes, pool in ((3, ""), (-1, "avg")):
        with pytest.raises(BadInput, match="num_classes"):
            net.reset_classifier(classes, pool)


@pytest.mark.parametrize("kind", ["list", "dict", "hook", "fx", "getter"])
def test_features_only_gives_the_stages_by_every_way_that_timm_has(kind):
    torch.manual_seed(0)
    whole = TimmMogaNet(SIZES["xt"]).eval()
    lively(whole)
    net = timm.create_model("moganet_xtiny", features_only=True, out_indices=(1, 3), feature_cls=kind).eval()
    renamed = {k.replace("stages.", "stages_") if kind in ("list", "dict", "hook") else k: v
               for k, v in whole.state_dict().items()}  # fmt: skip
    prefix = {"fx": "graph_module.", "getter": "model."}.get(kind, "")
    missing = net.load_state_dict({prefix + k: v for k, v in renamed.items()}, strict=False).missing_keys
    assert missing == []
    assert net.feature_info.channels() == [64, 192]
    assert net.feature_info.reduction() == [8, 32]
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        found = net(x)
        found = list(found.values()) if isinstance(found, dict) else found
        for a, b in zip(found, whole.forward_intermediates(x, [1, 3], intermediates_only=True), strict=True):
            torch.testing.assert_close(a, b)


def test_intermediates(net):
    x = torch.randn(2, 3, 64, 64)
    final, found = net.forward_intermediates(x)
    torch.testing.assert_close(final, net.forward_features(x))
    assert [f.shape[1] for f in found] == [8, 16, 24, 32]
    assert torch.equal(found[-1], final)
    assert torch.equal(net.forward_intermediates(x, 1, intermediates_only=True)[0], final)
    early, some = net.forward_intermediates(x, [-3, 0], stop_early=True, output_fmt="NHWC")
    assert torch.equal(early, found[1])
    assert [tuple(f.shape) for f in some] == [(2, 16, 16, 8), (2, 8, 8, 16)]
    assert torch.equal(some[1].permute(0, 3, 1, 2), found[1])
    with pytest.raises(BadInput, match="output_fmt"):
        net.forward_intermediates(x, output_fmt="NLC")
    assert net.prune_intermediate_layers([0, 1]) == [0, 1]
    assert torch.equal(net(x), found[1])
    assert net.num_features == 16
    assert not any(k.startswith(("stages.2", "head")) for k in net.state_dict())


def test_torch_export_gives_the_same_numbers(net):
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(torch.export.export(net, (x,)).module()(x), net(x))


def test_checkpointing_changes_memory_and_nothing_else(net):
    for rate in (0.0, 0.5):
        start = TimmMogaNet(TINY, num_classes=5, drop_path_rate=rate)
        start.load_state_dict(net.state_dict())
        found = []
        for enable in (False, True):
            again = copy.deepcopy(start).train()
            again.set_grad_checkpointing(enable)
            torch.manual_seed(3)
            x = torch.randn(4, 3, 32, 32, requires_grad=True)
            y = again(x)
            y.square().sum().backward()
            found.append([y, x.grad, *(p.grad for p in again.parameters()), *again.buffers()])
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_layers_are_grouped_in_the_order_in_which_they_run(net):
    layer = group_parameters(net, net.group_matcher(), reverse=True)
    assert layer.keys() == dict(net.named_parameters()).keys()
    assert [layer[k] for k in ("stages.0.embed.3.weight", "stages.0.blocks.0.scale1", "stages.0.norm.bias")] == [
        0,
        1,
        1,
    ]
    assert [layer[k] for k in ("stages.1.embed.0.bias", "stages.1.blocks.0.norm1.bias")] == [2, 2]
    assert [layer[k] for k in ("stages.1.blocks.1.scale1", "stages.3.norm.weight", "head.bias")] == [3, 5, 6]
    coarse = group_parameters(net, net.group_matcher(coarse=True), reverse=True)
    assert [coarse[k] for k in ("stages.0.embed.0.bias", "stages.0.norm.bias", "stages.3.norm.bias", "head.bias")] == [
        0, 1, 4, 5
    ]  # fmt: skip
    modules = group_modules(net, net.group_matcher())
    assert sum(map(len, modules.values())) > 40
    groups = param_groups_weight_decay(net, 0.1, no_weight_decay_list=net.no_weight_decay())
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    names = {n for n, p in net.named_parameters() if id(p) in decayed}
    assert "stages.0.blocks.0.spatial.gate.weight" in names
    assert not any(n.endswith(("scale1", "scale2", "sigma", "bias")) or "norm" in n for n in names)


def test_the_forced_precision_is_the_published_one():
    """Under autocast the gate, the value and what follows are float32; and SiLU goes over both twice."""
    torch.manual_seed(0)
    net = TimmMogaNet(TINY, num_classes=5, attn_force_fp32=True).eval()
    lively(net)
    spatial = net.get_submodule("stages.0.blocks.0.spatial")
    seen: list[torch.dtype] = []
    projection = spatial.get_submodule("proj_out")
    projection.register_forward_pre_hook(lambda _, args: seen.append(args[0].dtype))
    x = torch.randn(1, 8, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        y = spatial(x)
    assert seen == [torch.float32]
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, spatial(x), rtol=0.05, atol=0.05)


SMALL = InputSpec((1, 28, 28), (10,), ("grey",), (0.3,), (0.3,))


def test_a_network_of_timms_reads_small_images_enlarged():
    config = TimmModelConfig(name="convnext_atto", enlarge=2).fit(SMALL)
    assert (config.channels, config.classes, config.example_shape) == (1, 10, (1, 28, 28))
    net, plain = config.build().eval(), dataclasses.replace(config, enlarge=1).build().eval()
    plain.load_state_dict(net.state_dict())  # under the same names
    x = torch.rand(2, 1, 28, 28)
    with torch.no_grad():
        expected = plain(torch.kron(x, torch.ones(1, 1, 2, 2)))
        torch.testing.assert_close(net(x), expected, rtol=0, atol=0)
        torch.testing.assert_close(copy.deepcopy(net)(x), expected, rtol=0, atol=0)  # as the weight average is


def test_images_too_small_for_a_network_of_timms_are_refused_before_training():
    with pytest.raises(BadInput, match=r"convnext_atto: does not take images of 28 x 28 pixels.*model\.enlarge"):
        TimmModelConfig(name="convnext_atto").fit(SMALL)
    with pytest.raises(BadInput, match="enlarge: expected at least 1, got 0"):
        TimmModelConfig(enlarge=0).build()


def test_a_config_of_before_images_could_be_enlarged_is_read():
    before = {"kind": "timm_model", "name": "convnext_atto", "channels": 1, "classes": 10, "drop_path": 0.0}
    config = ModelConfig.from_dict(before | {"patch_size": 1, "size": 28})
    assert config == TimmModelConfig("convnext_atto", 1, 10, patch_size=1, size=28)
    assert config.build().get_submodule("stem.0").stride == (1, 1)
