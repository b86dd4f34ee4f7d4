import argparse
import json
import math
import pathlib

import numpy as np
import pytest
import torch

from moga_st import checkpoint, load_model
from moga_st.cli import main
from moga_st.convert import convert, convert_pose, publish, rename
from moga_st.errors import BadInput
from moga_st.models.moganet import MogaNetConfig
from moga_st.models.simvp import SimVPConfig
from moga_st.pretrained import export_weights, read_weights
from tests.conftest import GOLDEN


@pytest.fixture
def published(golden):
    data = golden("openstl_simvp_moga_tiny")
    return data, {k[3:]: torch.from_numpy(v) for k, v in data.items() if k.startswith("sd/")}


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}}])
def test_command_line_conversion_gives_a_model_that_predicts_as_published(published, tmp_path, capsys, wrap):
    data, state = published
    torch.save(wrap(state), tmp_path / "in.pth")
    with pytest.raises(SystemExit) as leave:
        main(["convert", "--from", "openstl", str(tmp_path / "in.pth"), str(tmp_path / "out.safetensors")])
    assert leave.value.code == 0
    assert f"all {len(state)} keys converted" in capsys.readouterr().out
    with torch.no_grad():
        y = load_model(tmp_path / "out.safetensors")(torch.from_numpy(data["x"]))
    np.testing.assert_allclose(y.numpy(), data["y_eval"], atol=1e-5)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: {**s, "enc.extra": torch.ones(1)}, "unexpected enc.extra"),
        (lambda s: {k: v for k, v in s.items() if k != "dec.readout.bias"}, "missing decoder.readout.bias"),
        (lambda s: {**s, "hid.enc.1.block.attn.sigma": torch.ones(1, 8, 1, 1)}, r"sigma is \(1, 8, 1, 1\), expected"),
        (lambda s: {k: v for k, v in s.items() if not k.startswith("hid")}, "no SimVP with a MogaNet translator"),
        (lambda _: {"a": torch.ones(1)}, "not of this model or not in this dialect"),
        (lambda s: {k if i else "model." + k: v for i, (k, v) in enumerate(s.items())}, "keys outside 'model.'"),
        (lambda _: {"state_dict": 3}, "holds no state dict"),
    ],
)
def test_what_is_not_accounted_for_is_an_error(published, tmp_path, spoil, message):
    path = tmp_path / "in.pth"
    torch.save(spoil(published[1]), path)
    with pytest.raises(BadInput, match=message):
        convert(path, "openstl")


def test_code_in_a_pickle_is_never_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(BadInput, match=r"holds no state dict.*io\.open was not made"):
        convert(tmp_path / "evil.pth", "openstl")
    assert not (tmp_path / "ran").exists()


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(BadInput, match="no such checkpoint"):
        convert(tmp_path / "none.pth", "openstl")
    (tmp_path / "junk.pth").write_bytes(b"junk" * 100)
    with pytest.raises(BadInput, match=r"junk\.pth: not a checkpoint of torch\.save"):
        convert(tmp_path / "junk.pth", "openstl")


def test_weights_of_another_model_are_refused(tmp_path, published):
    torch.save(published[1], tmp_path / "in.pth")
    net, config, _ = convert(tmp_path / "in.pth", "openstl")
    del net.decoder.readout.bias  # type: ignore[union-attr]
    net.extra = torch.nn.Parameter(torch.ones(1))
    export_weights(tmp_path / "w.safetensors", net, config, {})
    with pytest.raises(BadInput, match=r"missing decoder\.readout\.bias; unexpected extra"):
        load_model(tmp_path / "w.safetensors")


# what stands beside weights, and where weights stand


def test_numpy_numbers_paths_and_counters_beside_the_weights_are_no_hindrance(published, tmp_path):
    """Lightning keeps numpy's numbers, thop leaves its counts in the network, ConvNeXt's code says "model"."""
    plain = published[1]
    torch.save(plain, tmp_path / "plain.pth")
    expected = convert(tmp_path / "plain.pth", "openstl")[0].state_dict()
    said = {"in_shape": [10, 1, 64, 64], "test_mean": np.float32(0.3), "std": np.ones((1, 2)), "fps": np.float64(25)}
    lightning = {"epoch": 1, "state_dict": {f"model.{k}": v for k, v in plain.items()}, "hyper_parameters": said,
                 "callbacks": {"path": pathlib.PurePosixPath("x")}}  # fmt: skip
    counted = plain | {"total_ops": torch.zeros(1), "enc.enc.0.total_params": torch.zeros(1, dtype=torch.float64)}
    for content in (lightning, {"model": plain, "lr": np.float64(1e-3)}, counted):
        torch.save(content, tmp_path / "in.pth")
        net, _, about = convert(tmp_path / "in.pth", "openstl")
        for key, value in net.state_dict().items():
            assert torch.equal(value, expected[key])
        assert about["training"] == ({"in_shape": [10, 1, 64, 64], "fps": 25.0} if content is lightning else {})
        assert (about["weights"], about["beside"]) == ("raw", None)


def test_channels_and_frames_are_in_the_tensors(published, tmp_path):
    """Two channels, as traffic's in and out flow have, and nothing invented of what no tensor says."""
    data = published[1] | {
        "enc.enc.0.conv.conv.weight": published[1]["enc.enc.0.conv.conv.weight"].repeat(1, 2, 1, 1),
        "dec.readout.weight": published[1]["dec.readout.weight"].repeat(2, 1, 1, 1),
        "dec.readout.bias": published[1]["dec.readout.bias"].repeat(2),
    }
    torch.save(data, tmp_path / "in.pth")
    net, config, _ = convert(tmp_path / "in.pth", "openstl")
    assert isinstance(config, SimVPConfig)
    frames = json.loads(str(published[0]["config"]))["in_shape"][0]
    assert (config.channels, config.frames_in) == (2, frames)
    assert net(torch.rand(1, frames, 2, 16, 24)).shape == (1, frames, 2, 16, 24)


@pytest.fixture
def classifier(golden):
    data = golden("moganet_tiny_force_fp32_False")
    return {k[3:]: torch.from_numpy(v) for k, v in data.items() if k.startswith("sd/")}


def test_the_average_is_taken_and_the_other_by_name(classifier, tmp_path):
    doubled = {k: v * 2 for k, v in classifier.items()}
    timm = {"state_dict": classifier, "state_dict_ema": doubled, "args": argparse.Namespace(lr=1e-3)}
    openmixup = publish(rename(classifier, "moganet"), "openmixup")
    # OpenMixup's hook exchanges the two before it saves, and knows parameters alone, no statistics
    raw = {f"ema_{k.replace('.', '_')}": v * 2 for k, v in openmixup.items() if "running" not in k and "num_b" not in k}
    torch.save(timm, tmp_path / "timm.pth.tar")
    torch.save({"state_dict": openmixup | raw}, tmp_path / "hook.pth")
    weight, statistic = "stages.0.embed.0.weight", "stages.0.embed.1.running_var"
    own = rename(classifier, "moganet")
    for name, which, factor, statistics, beside in (
        ("timm.pth.tar", None, 2, 2, 'raw, under "state_dict"'),
        ("timm.pth.tar", "ema", 2, 2, 'raw, under "state_dict"'),
        ("timm.pth.tar", "raw", 1, 1, 'ema, under "state_dict_ema"'),
        ("hook.pth", None, 1, 1, 'raw, under "ema_...", where OpenMixup\'s EMAHook puts them'),
        ("hook.pth", "raw", 2, 1, "ema, under the plain names"),
    ):
        net, _, about = convert(tmp_path / name, "moganet", which)  # type: ignore[arg-type]
        assert (about["weights"], about["beside"]) == (which or "ema", beside)
        assert torch.equal(net.state_dict()[weight], own[weight] * factor)
        assert torch.equal(net.state_dict()[statistic], own[statistic] * statistics)
    torch.save(classifier, tmp_path / "plain.pth")
    assert convert(tmp_path / "plain.pth", "moganet").about["weights"] == "raw"
    with pytest.raises(BadInput, match="holds no ema weights, only the raw ones"):
        convert(tmp_path / "plain.pth", "moganet", "ema")


@pytest.mark.parametrize("dialect", ["moganet", "openmixup", "timm"])
def test_a_classifier_goes_out_in_every_dialect_and_comes_back(classifier, tmp_path, dialect):
    ours = rename(classifier, "moganet")
    given = ours if dialect == "timm" else publish(ours, dialect)
    torch.save({"state_dict": {f"module.{k}": v for k, v in given.items()}}, tmp_path / "in.pth")
    net, config, about = convert(tmp_path / "in.pth", dialect)
    assert about["dialect"] == dialect
    assert isinstance(config, MogaNetConfig)
    assert config.double_silu == (dialect == "openmixup")
    assert net.state_dict().keys() == ours.keys()
    assert all(torch.equal(v, ours[k]) for k, v in net.state_dict().items())
    _, forced, _ = convert(tmp_path / "in.pth", dialect, attn_force_fp32=dialect != "openmixup")
    assert isinstance(forced, MogaNetConfig)
    assert forced.double_silu == (dialect != "openmixup")
    if dialect != "openmixup":
        with pytest.raises(BadInput, match=f"keys are of the dialect {dialect}, not of openmixup"):
            convert(tmp_path / "in.pth", "openmixup")


def test_only_a_moganet_has_a_classifiers_dialect(published, classifier, tmp_path):
    with pytest.raises(BadInput, match="only a MogaNet has openmixup's keys"):
        publish(rename(published[1], "openstl"), "openmixup")
    torch.save(published[1], tmp_path / "in.pth")
    with pytest.raises(BadInput, match="is a switch of the classifier"):
        convert(tmp_path / "in.pth", "openstl", attn_force_fp32=True)
    # a backbone without a head is whoever's: its owner says which
    torch.save({f"backbone.{k}": v for k, v in classifier.items() if "head" not in k}, tmp_path / "backbone.pth")
    for dialect in ("moganet", "openmixup"):
        _, config, about = convert(tmp_path / "backbone.pth", dialect)
        assert isinstance(config, MogaNetConfig)
        assert (config.classes, config.double_silu, about["dialect"]) == (0, dialect == "openmixup", dialect)


def test_the_command_line_says_which_weights_it_takes_and_writes_them_back(classifier, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(checkpoint, "PIECE", 10_000)  # what others read is one file however large
    doubled = {k: v * 2 for k, v in classifier.items()}
    torch.save({"state_dict": classifier, "state_dict_ema": doubled}, tmp_path / "in.pth.tar")

    def command(*arguments: str) -> str:
        with pytest.raises(SystemExit) as leave:
            main(["convert", *arguments])
        assert leave.value.code == 0, capsys.readouterr().err
        return capsys.readouterr().out

    out = command("--from", "moganet", str(tmp_path / "in.pth.tar"), str(tmp_path / "ema.safetensors"))
    assert 'takes the ema weights; beside them: raw, under "state_dict"' in out
    command("--from", "moganet", "--weights", "raw", str(tmp_path / "in.pth.tar"), str(tmp_path / "w.safetensors"))
    command("--from", "moga_st", "--to", "openmixup", str(tmp_path / "w.safetensors"), str(tmp_path / "om.pth"))
    written = torch.load(tmp_path / "om.pth", weights_only=True)["state_dict"]
    expected = publish(rename(classifier, "moganet"), "openmixup")
    assert written.keys() == expected.keys()
    assert all(torch.equal(v, expected[k]) for k, v in written.items())
    out = command("--from", "moganet", str(tmp_path / "om.pth"), str(tmp_path / "again.safetensors"))
    assert "OpenMixup's keys, attn_force_fp32 on" in out


def test_converted_video_weights_belong_to_no_task_until_one_is_named(published, tmp_path):
    torch.save(published[1], tmp_path / "in.pth")
    for extra, named in (((), None), (("--recipe", "mmnist_simvp_moga"), "mmnist_simvp_moga")):
        with pytest.raises(SystemExit):
            main(["convert", "--from", "openstl", str(tmp_path / "in.pth"), str(tmp_path / "w.safetensors"), *extra])
        assert read_weights(tmp_path / "w.safetensors").about.get("run", {}).get("name") == named


@pytest.mark.parametrize("kind", ["model", "lightning", "thop", "two channels"])
def test_video_checkpoints_as_people_have_them_become_weights_that_predict(published, tmp_path, capsys, kind):
    data, plain = published
    said = {"in_shape": [10, 1, 64, 64], "test_mean": np.float32(0.3), "fps": np.float64(25)}
    content = {
        "model": {"model": plain, "lr": np.float64(1e-3)},
        "lightning": {"state_dict": {f"model.{k}": v for k, v in plain.items()}, "hyper_parameters": said},
        "thop": plain | {"total_ops": torch.zeros(1), "enc.enc.0.total_params": torch.zeros(1)},
        "two channels": plain
        | {
            "enc.enc.0.conv.conv.weight": plain["enc.enc.0.conv.conv.weight"].repeat(1, 2, 1, 1) / 2,
            "dec.readout.weight": plain["dec.readout.weight"].repeat(2, 1, 1, 1),
            "dec.readout.bias": plain["dec.readout.bias"].repeat(2),
        },
    }[kind]
    torch.save(content, tmp_path / "in.pth")
    channels, clip = (2 if kind == "two channels" else 1), data["x"][0].repeat(2 if kind == "two channels" else 1, 1)
    for argv in (
        ["convert", "--from", "openstl", tmp_path / "in.pth", tmp_path / "w.safetensors"],
        ["predict", tmp_path / "w.safetensors", tmp_path / "clip.npy", "--from-end", "--out", tmp_path],
    ):
        np.save(tmp_path / "clip.npy", clip)
        with pytest.raises(SystemExit) as leave:
            main([str(a) for a in argv])
        assert leave.value.code == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    frames = len(clip)
    assert f"{frames} frames of {channels} channels; no checkpoint says frame size, rate and unit: `predict`" in said
    made = np.load(tmp_path / "clip_predicted.npy")
    np.testing.assert_allclose(made, data["y_eval"][0].repeat(channels, 1).clip(0, 1), atol=1e-5)


# mmpose 0.x: the published pose models


@pytest.fixture
def pose_model(golden):
    """A published backbone and Simple Baselines' head, random, under the keys of mmpose 0.x."""
    data = golden("moganet_tiny_force_fp32_False")
    backbone = {k[3:]: torch.from_numpy(v) for k, v in data.items() if k.startswith("sd/")}
    tensors = {f"backbone.{k}": v for k, v in backbone.items() if not k.startswith("head.")}
    g = torch.Generator().manual_seed(0)
    for i, c_in in ((0, 32), (3, 16), (6, 16)):
        tensors[f"keypoint_head.deconv_layers.{i}.weight"] = torch.randn(c_in, 16, 4, 4, generator=g) * 0.1
        for name in ("weight", "bias", "running_mean", "running_var"):
            tensors[f"keypoint_head.deconv_layers.{i + 1}.{name}"] = torch.rand(16, generator=g) + 0.5
        tensors[f"keypoint_head.deconv_layers.{i + 1}.num_batches_tracked"] = torch.tensor(7)
    tensors["keypoint_head.final_layer.weight"] = torch.randn(17, 16, 1, 1, generator=g)
    tensors["keypoint_head.final_layer.bias"] = torch.randn(17, generator=g)
    return tensors


@pytest.mark.parametrize("old_head", [True, False])
def test_a_pose_model_converts_with_every_tensor(pose_model, tmp_path, capsys, old_head):
    given = {k if old_head else k.replace("keypoint_head.", "head."): v for k, v in pose_model.items()}
    torch.save({"meta": {"epoch": 210}, "state_dict": given}, tmp_path / "in.pth")
    with pytest.raises(SystemExit) as leave:
        main(["convert", "--from", "mmpose", str(tmp_path / "in.pth"), str(tmp_path / "out.pth")])
    assert leave.value.code == 0
    out = capsys.readouterr().out
    assert f"all {len(pose_model)} keys converted" in out
    assert "arch={'widths': (8, 16, 24, 32), 'depths': (1, 1, 2, 1), 'ffn_ratios': (8.0, 8.0, 4.0, 4.0)}" in out
    written = torch.load(tmp_path / "out.pth", weights_only=True)["state_dict"]
    assert len(written) == len(pose_model)
    for key, tensor in pose_model.items():
        if key.startswith("keypoint_head."):
            assert torch.equal(written[key.replace("keypoint_head.", "head.")], tensor)
    torch.save({k.removeprefix("backbone."): v for k, v in pose_model.items() if "head" not in k}, tmp_path / "b.pth")
    alone, *_ = convert(tmp_path / "b.pth", "moganet")  # checked against the published outputs in tests/models
    for key, tensor in alone.state_dict().items():
        assert torch.equal(written[f"backbone.{key}"], tensor)


def test_the_names_of_sizes_are_found(tmp_path, capsys):
    shapes = json.loads((GOLDEN / "moganet_keys.json").read_text())["xtiny"]
    tensors = {f"backbone.{k}": torch.zeros(s) for k, s in shapes.items() if not k.startswith("head.")}
    tensors |= {"head.final_layer.weight": torch.zeros(17, 192, 1, 1), "head.final_layer.bias": torch.zeros(17)}
    torch.save(tensors, tmp_path / "in.pth")
    with pytest.raises(SystemExit):
        main(["convert", "--from", "mmpose", str(tmp_path / "in.pth"), str(tmp_path / "out.pth")])
    assert "backbone=dict(type='MogaNet', arch='xt'), head=dict(in_channels=192)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: {**s, "backbone.extra": torch.ones(1)}, "unexpected extra"),
        (lambda s: {**s, "head.final_layer.bias": torch.ones(17)}, r"two of its keys are both our head\.final_layer"),
        (lambda s: {**s, "neck.weight": torch.ones(1)}, r"neck\.weight is part of no backbone"),
        (lambda s: {**s, "keypoint_head.conv.weight": torch.ones(1)}, r"unexpected conv\.weight"),
        (lambda s: _without(s, "backbone.norm4.bias"), r"missing stages\.3\.norm\.bias"),
        (lambda s: _without(s, "keypoint_head.deconv_layers.4.running_var"), r"missing deconv_layers\.4\.running_var"),
        (lambda s: _without(s, "keypoint_head.deconv_layers.3.weight"), r"lacks deconv_layers\.3\.weight"),
        (lambda s: _without(s, "keypoint_head.final_layer.bias"), r"lacks final_layer\.bias"),
        (lambda s: {**s, "keypoint_head.final_layer.weight": torch.ones(17, 8, 1, 1)}, r"expected \(17, 16, 1, 1\)"),
        (lambda s: {k.removeprefix("backbone."): v for k, v in s.items()}, "not in this dialect"),
    ],
)
def test_a_pose_model_with_other_keys_is_refused(pose_model, tmp_path, spoil, message):
    torch.save(spoil(pose_model), tmp_path / "in.pth")
    with pytest.raises(BadInput, match=message):
        convert_pose(tmp_path / "in.pth")


def _without(tensors: dict, key: str) -> dict:
    return {k: v for k, v in tensors.items() if k != key}


def test_timms_command_line_beside_the_weights_is_no_hindrance(tmp_path, golden):
    """The MogaNet repository's classifiers are timm's checkpoints, with an argparse.Namespace inside."""
    data = golden("moganet_tiny_force_fp32_False")
    state = {k[3:]: torch.from_numpy(v) for k, v in data.items() if k.startswith("sd/")}
    torch.save({"state_dict": state, "args": argparse.Namespace(lr=1e-3), "epoch": 300}, tmp_path / "in.pth.tar")
    net, *_ = convert(tmp_path / "in.pth.tar", "moganet")
    with torch.no_grad():
        y = net.eval()(torch.from_numpy(data["x"]))
    np.testing.assert_allclose(y.numpy(), data["y"], atol=1e-5)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: {**s, "dec.readout.bias": torch.tensor([math.nan])}, "readout.bias holds NaN"),
        (lambda s: {**s, "dec.readout.bias": s["dec.readout.bias"] / 0 + math.inf}, "readout.bias holds NaN"),
        (lambda s: {**s, "dec.readout.bias": torch.ones(1, dtype=torch.int32)}, "is torch.int32, expected floating"),
        (
            lambda s: {**s, "dec.readout.bias": torch.ones(1, dtype=torch.complex64)},
            "storage of an unknown type: .*ComplexFloat",
        ),
        (
            lambda s: {**s, "hid.enc.1.block.attn.sigma.scale": torch.ones(1, 8, 1, 1)},
            r"in\.pth: two of its keys are both our",
        ),
        (lambda s: {**s, "hid.enc.999999999.block.norm1.weight": torch.ones(8)}, "unexpected translator.blocks.99999"),
        (lambda s: {**s, "hid.enc.0.block.norm1.weight": torch.ones(10**6)}, "cannot be built"),
        (lambda s: {**s, "hid.enc.0.block.norm1.weight": torch.ones(())}, "no SimVP with a MogaNet translator"),
        (lambda s: {**s, "dec.readout.bias": torch.ones(1).expand(10**9)}, "larger than its bytes"),
    ],
)
def test_damaged_and_absurd_weights_are_refused(published, tmp_path, spoil, message):
    path = tmp_path / "in.pth"
    torch.save(spoil(published[1]), path)
    with pytest.raises(BadInput, match=message):
        convert(path, "openstl")
