"""Our networks in mmpose's registry: what its configs build, what their arguments do, what they load."""
# pyright: reportMissingImports=false

import argparse
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from moga_st import recipes
from moga_st.convert import convert_pose, rename
from moga_st.errors import BadInput
from moga_st.models import lifter
from moga_st.models.moga import DropPath
from moga_st.models.moganet import SIZES, MogaNetConfig
from moga_st.pretrained import export_weights
from tests.conftest import GOLDEN
from tests.integrations.test_mmpose import needs_mmpose, random, varied
from tests.test_convert import pose_model  # noqa: F401 (a fixture)

# mmengine and mmpose warn of what they themselves use
pytestmark = [needs_mmpose, pytest.mark.filterwarnings("ignore")]
CONFIG = recipes.FOLDER / "mmpose" / "td-hm_moganet-xt_8xb32-210e_coco-256x192.py"
TINY: dict[str, Any] = {"widths": (8, 16, 24, 32), "depths": (1, 1, 2, 1), "ffn_ratios": (8, 8, 4, 4)}
NAMES = {"xt": "xtiny", "t": "tiny", "s": "small", "b": "base", "l": "large", "xl": "xlarge"}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def build(**config: Any) -> Any:
    from mmpose.registry import MODELS

    import moga_st.integrations.mmpose  # noqa: F401 (fills the registry)

    return MODELS.build(config)


def moganet(**config: Any) -> Any:
    return build(type="MogaNet", **({"arch": TINY} | config))


# --- MogaNet


@pytest.mark.parametrize("arch", SIZES)
def test_every_size_has_the_published_keys_and_shapes(arch: str):
    published = json.loads((GOLDEN / "moganet_keys.json").read_text())[NAMES[arch]]
    with torch.device("meta"):
        renamed = rename({k: torch.empty(s) for k, s in published.items() if not k.startswith("head.")}, "moganet")
        net = moganet(arch=arch)
        long = moganet(arch=NAMES[arch].replace("x", "x-") if arch[0] == "x" else NAMES[arch])
    shapes = {k: v.shape for k, v in net.state_dict().items()}
    assert shapes == {k: v.shape for k, v in renamed.items()}
    assert shapes == {k: v.shape for k, v in long.state_dict().items()}


@pytest.mark.parametrize("double_silu", [True, False])
def test_a_published_checkpoint_gives_the_published_outputs(golden, tmp_path, double_silu: bool):
    data = golden(f"moganet_tiny_force_fp32_{double_silu}")
    state = {k[3:]: torch.from_numpy(v) for k, v in data.items() if k.startswith("sd/")}
    path = tmp_path / "published.pth.tar"
    torch.save({"state_dict": state, "args": argparse.Namespace(lr=1e-3)}, path)
    net = moganet(double_silu=double_silu, init_cfg={"type": "Pretrained", "checkpoint": str(path)})
    net.init_weights()
    with torch.no_grad():
        (last,) = net.eval()(torch.from_numpy(data["x"]))
        y = last.mean((2, 3)) @ state["head.weight"].T + state["head.bias"]
    np.testing.assert_allclose(y.numpy(), data["y"], atol=1e-5)


def test_features_are_those_of_the_classifier():
    net = varied(moganet(out_indices=(0, 1, 2, 3)))
    core = MogaNetConfig(**TINY, classes=0).build().eval()
    core.load_state_dict(net.state_dict())
    x = random(2, 3, 64, 96)
    every = core.features(x)
    for got, expected in zip(net(x), every, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)
    some = moganet(out_indices=(2, 0)).eval()
    some.load_state_dict(net.state_dict())
    for got, expected in zip(some(x), (every[2], every[0]), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)


@pytest.mark.parametrize("frozen", [-1, 0, 1, 3, 4])
def test_frozen_stages_stay_as_they_are(frozen: int):
    """After a step of SGD only what is not frozen has changed, weights and statistics."""
    net = moganet(frozen_stages=frozen, out_indices=(0, 1, 2, 3), drop_path_rate=0.5).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    features = net(random(8, 3, 64, 64))
    trained = [p for p in net.parameters() if p.requires_grad]
    if trained:
        # not their squares, whose mean a norm holds at 1: the gradients would be rounding alone
        torch.stack([(f * random(*f.shape)).mean() for f in features]).sum().backward()
        torch.optim.SGD(trained, lr=10.0).step()
    changed = {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}
    still = () if frozen < 0 else ("stages.0.embed.", *(f"stages.{i}." for i in range(frozen)))
    for key in before:
        stays = key.startswith(still)
        if stays or key.endswith(("running_mean", "running_var")):
            assert (key in changed) is not stays, key
        elif key.endswith("weight") and ".norm" not in key and ".embed" in key:
            assert key in changed, key
    drops = [m for m in net.modules() if isinstance(m, DropPath)]
    stage_of_block = [stage for stage, depth in enumerate(TINY["depths"]) for _ in range(depth)]
    assert [m.training for m in drops] == [stage >= frozen for stage in stage_of_block]


def test_norm_eval_keeps_the_statistics():
    net = moganet(norm_eval=True).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    net(random(4, 3, 64, 64))
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert net.stages[0].blocks[0].drop_path.training  # the norms alone


def norms(net: nn.Module) -> list[nn.Module]:
    return [m for name, m in net.named_modules() if ".norm" in name or name in ("stages.0.embed.1", "stages.0.embed.4")]


@pytest.mark.parametrize(
    ("norm_cfg", "kind"),
    [
        ({"type": "BN"}, "BatchNorm2d"),
        ({"type": "SyncBN"}, "SyncBatchNorm"),
        ({"type": "GN", "num_groups": 4}, "GroupNorm"),
        ({"type": "LN2d"}, "LayerNorm2d"),
    ],
)
def test_the_norm_that_is_asked_for_is_everywhere(norm_cfg: dict, kind: str):
    net = moganet(norm_cfg=norm_cfg | {"requires_grad": False, "eps": 1e-3})
    found = [m for m in net.modules() if "Norm" in type(m).__name__]
    assert {type(m).__name__ for m in found} == {kind}
    # the stem's two, three down-samplings, one a stage, two a block
    assert len(found) == 2 + 3 + 4 + 2 * sum(TINY["depths"])
    assert all(m.eps == 1e-3 and not any(p.requires_grad for p in m.parameters()) for m in found)
    varied(net)
    x = random(2, 8, 5, 6)
    norm = net.stages[0].norm
    scale, shift = norm.weight.view(-1, 1, 1), norm.bias.view(-1, 1, 1)
    if "Batch" in kind:
        mean, var = norm.running_mean.view(-1, 1, 1), norm.running_var.view(-1, 1, 1)
    else:
        groups = x.unflatten(1, (4, 2)) if kind == "GroupNorm" else x
        dims = (2, 3, 4) if kind == "GroupNorm" else (1,)
        mean, var = groups.mean(dims, keepdim=True), groups.var(dims, correction=0, keepdim=True)
        if kind == "GroupNorm":
            mean, var = (v.expand_as(groups).reshape(x.shape) for v in (mean, var))
    torch.testing.assert_close(norm(x), (x - mean) / (var + 1e-3).sqrt() * scale + shift)


def test_drop_path_rises_to_its_rate():
    net = moganet(drop_path_rate=0.4)
    rates = [m.rate for m in net.modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"arch": "tinny"}, "'tinny' is none of .*did you mean 'tiny'"),
        ({"arch": {"widths": (8, 8, 8, 8)}}, "expected a name or widths, depths and ffn_ratios"),
        ({"out_indices": (4,)}, r"expected some of the stages 0, 1, 2, 3, got \(4,\)"),
        ({"out_indices": ()}, "out_indices"),
        ({"frozen_stages": 5}, "frozen_stages: expected -1"),
        ({"norm_cfg": {"type": "LN"}}, "it is LN2d"),
    ],
)
def test_bad_arguments_are_named(config: dict, message: str):
    with pytest.raises(BadInput, match=message):
        moganet(**config)


def test_a_misspelt_argument_is_an_error():
    with pytest.raises(TypeError, match="drop_path"):
        moganet(drop_path=0.1)


def test_another_scopes_moganet_is_not_ours_and_ours_not_its():
    """mmengine's registries are trees of scopes: a classifier library may have a MogaNet of its own."""
    from mmengine.registry import MODELS as ROOT
    from mmengine.registry import Registry

    ours = type(moganet())
    other = Registry("model", parent=ROOT, scope="other")
    other.register_module(name="MogaNet", module=nn.Identity)
    try:
        assert type(moganet()) is ours
        assert isinstance(build(type="other.MogaNet"), nn.Identity)
        assert other.get("mmpose.MogaNet") is ours
        assert ROOT.get("mmpose.MogaNet") is ours
    finally:
        del ROOT._children["other"]


# --- weights for MogaNet


def pretrained(path: Any, **config: Any) -> Any:
    net = moganet(init_cfg={"type": "Pretrained", "checkpoint": str(path)}, **config)
    net.init_weights()
    return net


def test_weights_files_load_without_their_head(tmp_path):
    config = MogaNetConfig(**TINY, classes=10, double_silu=True)
    core = varied(config.build())
    export_weights(tmp_path / "w.safetensors", core, config, {})
    net = pretrained(tmp_path / "w.safetensors", double_silu=True)
    for key, tensor in net.state_dict().items():
        assert torch.equal(tensor, core.state_dict()[key]), key
    with pytest.raises(BadInput, match="needs double_silu=True"):
        pretrained(tmp_path / "w.safetensors")


def test_checkpoints_of_whole_models_load_and_others_are_refused(tmp_path, pose_model):  # noqa: F811
    torch.save({"state_dict": pose_model}, tmp_path / "published.pth")
    tensors, _ = convert_pose(tmp_path / "published.pth")
    torch.save({"state_dict": tensors}, tmp_path / "ours.pth")
    for path in (tmp_path / "published.pth", tmp_path / "ours.pth"):
        for key, tensor in pretrained(path).state_dict().items():
            assert torch.equal(tensor, tensors[f"backbone.{key}"]), key
    with pytest.raises(BadInput, match=r"ours\.pth: not a checkpoint of this MogaNet: missing stages\.0\.blocks\.1"):
        pretrained(tmp_path / "ours.pth", arch="xt")
    with pytest.raises(BadInput, match=r"unexpected stages\.0\.embed\.1\.running_mean"):
        pretrained(tmp_path / "ours.pth", norm_cfg={"type": "LN2d"})
    torch.save({"state_dict": {k: v for k, v in tensors.items() if "scale1" not in k}}, tmp_path / "less.pth")
    with pytest.raises(BadInput, match=r"less\.pth: .*missing stages\.0\.blocks\.0\.scale1"):
        pretrained(tmp_path / "less.pth")
    torch.save({"a": torch.ones(1)}, tmp_path / "none.pth")
    with pytest.raises(BadInput, match="holds no MogaNet"):
        pretrained(tmp_path / "none.pth")


def test_a_converted_pose_model_runs_in_mmpose(tmp_path, pose_model):  # noqa: F811
    """mmpose's heatmaps are those of the head's layers, written out, on our features."""
    torch.save({"state_dict": pose_model}, tmp_path / "published.pth")
    tensors, config = convert_pose(tmp_path / "published.pth")
    torch.save({"state_dict": tensors}, tmp_path / "ours.pth")
    head = {"type": "HeatmapHead", "in_channels": 32, "out_channels": 17, "deconv_out_channels": (16, 16, 16)}
    net = build(type="TopdownPoseEstimator", backbone={"type": "MogaNet", "arch": TINY}, head=head)
    from mmengine.runner import load_checkpoint

    load_checkpoint(net, str(tmp_path / "ours.pth"), strict=True)
    image = random(2, 3, 64, 32)
    core = config.build()
    core.load_state_dict({k.removeprefix("backbone."): v for k, v in tensors.items() if k.startswith("backbone.")})
    with torch.no_grad():
        x = core.eval().features(image)[-1]
        k = {key.removeprefix("keypoint_head."): v for key, v in pose_model.items() if "head" in key}
        for i in (0, 3, 6):
            x = F.conv_transpose2d(x, k[f"deconv_layers.{i}.weight"], stride=2, padding=1)
            mean, var = (k[f"deconv_layers.{i + 1}.running_{v}"].view(-1, 1, 1) for v in ("mean", "var"))
            scale, shift = (k[f"deconv_layers.{i + 1}.{v}"].view(-1, 1, 1) for v in ("weight", "bias"))
            x = ((x - mean) / (var + 1e-5).sqrt() * scale + shift).relu()
        expected = F.conv2d(x, k["final_layer.weight"], k["final_layer.bias"])
        got = net.eval()(image, None, mode="tensor")
    assert got.shape == (2, 17, 16, 8)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


# --- MogaLifter


def test_the_lifters_features_are_what_its_head_reads(tmp_path):
    config = lifter.LifterConfig(frames=9)
    core = varied(config.build())
    export_weights(tmp_path / "w.safetensors", core, config, {})
    x = random(2, 9, 17, 2)
    weight, bias = core.head.weight[:, :, 0, 0], core.head.bias
    for centre_only in (False, True):
        net = build(
            type="MogaLifter",
            frames=9,
            centre_only=centre_only,
            init_cfg={"type": "Pretrained", "checkpoint": str(tmp_path / "w.safetensors")},
        )
        net.init_weights()
        features = net.eval()(x)
        if centre_only:
            (flat,) = features
            features = flat.view(2, 1, 17, 96)
        expected = core(x)[:, 4:5] if centre_only else core(x)
        torch.testing.assert_close(features @ weight.T + bias, expected, rtol=1e-4, atol=1e-4)


def test_the_lifters_arguments(tmp_path):
    net = build(type="MogaLifter", arch="s", frames=27, channels=3, drop_path_rate=0.18)
    assert [m.rate for m in net.modules() if isinstance(m, DropPath)] == pytest.approx([0.02 * i for i in range(10)])
    assert net.eval()(random(1, 27, 17, 3)).shape == (1, 27, 17, 128)
    with pytest.raises(BadInput, match="'m' is none of xs, s, b"):
        build(type="MogaLifter", arch="m")
    config = lifter.LifterConfig(width=16, depth=1)
    export_weights(tmp_path / "w.safetensors", config.build(), config, {})
    net = build(type="MogaLifter", init_cfg={"type": "Pretrained", "checkpoint": str(tmp_path / "w.safetensors")})
    with pytest.raises(BadInput, match=r"w\.safetensors: not a checkpoint of this Lifter"):
        net.init_weights()


# --- a fresh process


def test_reading_a_config_is_enough_in_a_fresh_process():
    """What mmpose's own tools do first; with mmcv-lite they work for that very reason."""
    code = (
        "from mmengine.config import Config; from mmpose.registry import MODELS;"
        f"config = Config.fromfile({str(CONFIG)!r}); print(type(MODELS.build(config.model.backbone)).__module__)"
    )
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "moga_st.integrations.mmengine_backbone", run.stderr
