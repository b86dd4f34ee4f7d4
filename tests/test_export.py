"""Whole networks as files: held against torch written out here, run by other runtimes, and refused where they lie.

The tests whose names end in "alone" run examples/run_onnx.py as somebody does who has neither torch nor this package:
`make test-onnx` in an environment of its own, whose Python is named by MOGA_ST_ONNX_PYTHON; else in this one, with both
out of reach.
"""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image, ImageSequence
from torch import nn

import moga_st
from moga_st.data.pose.camera import normalise_screen
from moga_st.data.pose.keypoints import Keypoints
from moga_st.data.pose.skeleton import flip
from moga_st.errors import BadInput, RunFailed
from moga_st.export import write as writing
from moga_st.export.int8 import quantised
from moga_st.export.load import load
from moga_st.export.runtime import open_session, read_exported
from moga_st.export.write import prepare, recorded, write
from moga_st.infer.classify import load_classifier
from moga_st.infer.tiles import predict_frames
from moga_st.models.lifter import LifterConfig
from moga_st.models.moganet import MogaNetConfig
from moga_st.models.person import PersonLifterConfig
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig
from moga_st.pretrained import export_weights
from moga_st.spec import InputSpec
from moga_st.storage import save_npz
from tests.test_cli import run

VIDEO = SimVPConfig(4, 3, 1, width=4, layers=2, translator=MogaTranslatorConfig(width=16, depth=2, ffn_ratio=2))
POSE = LifterConfig(frames=3, channels=3, width=8, depth=1)
PERSON = PersonLifterConfig(frames=3, width=8, depth=1)
IMAGE = MogaNetConfig((8, 8, 8, 8), (1, 1, 1, 1), (2.0, 2.0, 2.0, 2.0), channels=3, classes=3, stem_stride=1)


def trained(config):
    """A network of which every part does something: what starts at nothing, or nearly so, is drawn."""
    torch.manual_seed(0)
    net = config.build()
    with torch.no_grad():
        for name, p in net.named_parameters():
            if p.abs().max() < 1e-4 or "sigma" in name or "scale" in name:
                p.normal_(0, 0.3)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
        if isinstance(config, SimVPConfig):
            net.decoder.readout.bias.fill_(0.5)  # grey in the middle, far from where bytes end
    return net.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights of each kind, video, fields, pose, person and image, and all but the fields as .onnx files."""
    made = tmp_path_factory.mktemp("export")
    frames = InputSpec((4, 1, 16, 16), (3, 1, 16, 16), ("grey",), fps=25)
    winds = InputSpec((4, 1, 16, 16), (3, 1, 16, 16), ("u",), (3.0,), (2.0,), "m/s")
    pixels = InputSpec((3, 16, 16), (3,), ("red", "green", "blue"), (0.5, 0.4, 0.3), (0.25, 0.2, 0.3))
    facts = {"facts": {"classes": ["cat", "dog", "cow"], "test_view": {"size": [16, 16], "crop": 0.8}, "licence": "L"}}
    export_weights(made / "field.safetensors", trained(VIDEO), VIDEO, {}, spec=winds)
    kinds = {
        "video": (VIDEO, frames, {}),
        "pose": (POSE, None, {}),
        "person": (PERSON, None, {}),
        "image": (IMAGE, pixels, facts),
    }
    for name, (config, spec, about) in kinds.items():
        export_weights(made / f"{name}.safetensors", trained(config), config, about, spec=spec)
        exported = prepare(made / f"{name}.safetensors")
        write(made / f"{name}.onnx", exported, example(name))
    return made


def example(name):
    """Three inputs of a network itself."""
    rng = torch.Generator().manual_seed(1)
    if name == "video":
        return torch.randint(0, 256, (3, 4, 1, 16, 16), generator=rng) / 255
    if name == "pose":
        return torch.rand(3, 3, 17, 3, generator=rng) * 0.5
    if name == "person":
        points = torch.rand(3, 3, 22, 3, generator=rng) * 0.4
        points[0, :, 4] = 0  # one that is not seen
        return torch.cat([points, (torch.arange(3.0) / 30)[:, None, None].expand(3, -1, 22, 1)], -1)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.5, 0.4, 0.3), (0.25, 0.2, 0.3)))
    return (torch.randint(0, 256, (3, 3, 16, 16), generator=rng) / 255 - mean) / std


def session(path):
    import onnxruntime

    opened = onnxruntime.InferenceSession(path)
    return lambda **inputs: np.asarray(opened.run(None, inputs)[0])


@torch.no_grad()
def test_frames_of_bytes_come_out_as_bytes(folder):
    frames = np.random.default_rng(0).integers(0, 256, (2, 4, 16, 16, 1), np.uint8)
    x = torch.from_numpy(frames).permute(0, 1, 4, 2, 3) / 255
    expected = (trained(VIDEO)(x).clamp(0, 1) * 255).permute(0, 1, 3, 4, 2).numpy()
    made = session(folder / "video.onnx")(frames=frames)
    assert (made.dtype, made.shape) == (np.uint8, (2, 3, 16, 16, 1))
    assert made.std() > 10
    assert np.abs(made - expected).max() < 0.5 + 1e-3


@torch.no_grad()
def test_fields_stay_in_their_unit(folder):
    winds = np.random.default_rng(0).normal(3, 2, (5, 4, 16, 16, 1)).astype(np.float32)
    expected = trained(VIDEO)(torch.from_numpy((winds - 3) / 2).permute(0, 1, 4, 2, 3)).permute(0, 1, 3, 4, 2) * 2 + 3
    made = prepare(folder / "field.safetensors").module(torch.from_numpy(winds))
    torch.testing.assert_close(made, expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_pixels_come_out_as_poses_about_the_hip_averaged_with_the_mirror_image(folder):
    px = torch.rand(2, 3, 17, 3) * torch.tensor([640, 480, 1])
    size = torch.tensor([[640.0, 480.0], [1280.0, 480.0]])
    net, x = trained(POSE), normalise_screen(px, size)
    poses = (net(x) + flip(net(flip(x)))) / 2
    made = session(folder / "pose.onnx")(keypoints_px=px.numpy(), size_px=size.numpy())
    np.testing.assert_allclose(made, poses - poses[:, :, :1], atol=1e-5)
    assert np.abs(made[0] - made[1]).max() > 1e-2


@torch.no_grad()
def test_a_persons_pixels_come_out_in_camera_space(folder):
    px = torch.rand(2, 3, 22, 3) * torch.tensor([640, 480, 1])
    px[0, :, 4, 2] = 0  # its place is then never read
    size, focal, fps = torch.tensor([[640.0, 480.0]] * 2), torch.tensor([500.0, 0.0]), torch.tensor([25.0, 50.0])
    rays = torch.zeros(2, 3, 22, 4)
    for i, f in enumerate((500.0, 640.0)):  # without a focal length it is the image's longer side
        rays[i, ..., :2] = (px[i, ..., :2] - torch.tensor([320.0, 240.0])) / f
    rays[..., 2], rays[..., 3] = px[..., 2], torch.arange(3.0)[None, :, None] / fps[:, None, None]
    net = trained(PERSON)
    expected = (net(rays) + flip(net(flip(rays)))) / 2
    inputs = {"keypoints_px": px, "size_px": size, "focal_px": focal, "fps": fps}
    made = session(folder / "person.onnx")(**{k: v.numpy() for k, v in inputs.items()})
    np.testing.assert_allclose(made, expected, atol=1e-4)
    px[0, :, 4, :2] += 100
    again = session(folder / "person.onnx")(**{k: v.numpy() for k, v in inputs.items()})
    np.testing.assert_array_equal(made, again)


@torch.no_grad()
def test_an_image_comes_out_as_shares(folder):
    image = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    x = (torch.from_numpy(image) / 255 - torch.tensor([0.5, 0.4, 0.3])) / torch.tensor([0.25, 0.2, 0.3])
    expected = trained(IMAGE)(x.permute(0, 3, 1, 2)).softmax(1)
    np.testing.assert_allclose(session(folder / "image.onnx")(image=image), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["video", "pose", "person", "image"])
def test_what_stands_for_a_network_takes_and_gives_what_it_does(folder, name):
    x = example(name)
    net, config = load(folder / f"{name}.safetensors")[:2]
    with torch.no_grad():
        expected = net(x)
        if name in ("pose", "person"):
            expected = (expected + flip(net(flip(x)))) / 2
        if name == "pose":
            expected = expected - expected[:, :, :1]
        if name == "image":
            expected = expected.log_softmax(1)
        if name == "video":
            expected = (expected.clamp(0, 1) * 255).round() / 255
    for runtime in ("onnxruntime", "openvino"):
        loaded = read_exported(folder / f"{name}.onnx", runtime)
        assert loaded.config == config
        atol = 1.01 / 255 if name == "video" else 2e-3
        np.testing.assert_allclose(loaded.net(x).numpy(), expected.numpy(), atol=atol, rtol=1e-3)
        np.testing.assert_allclose(loaded.net(x[:1]).numpy(), expected[:1].numpy(), atol=atol, rtol=1e-3)


def test_a_file_says_what_it_is(folder):
    told = {p.key: p.value for p in onnx.load(folder / "image.onnx").metadata_props}
    about = json.loads(told["moga_st"])
    assert about["input"] == prepare(folder / "image.safetensors").content["input"]
    assert (told["licence"], told["licence_of_data"]) == ("not stated", "L")
    assert told["image"].startswith("uint8 (b, 16, 16, 3): the middle of an image whose shorter side was resized")
    assert "20 pixels" in told["image"]
    assert prepare(folder / "image.safetensors", licence="ours").content["licence"] == "ours"


def test_a_pt2_file_runs_in_torch_alone(folder, tmp_path):
    exported, x = prepare(folder / "pose.safetensors"), example("pose")
    assert write(tmp_path / "p.pt2", exported, x) <= 1e-4
    extra = {"moga_st": "", "licence": ""}
    program = torch.export.load(tmp_path / "p.pt2", extra_files=extra)
    assert json.loads(extra["moga_st"])["whole"]["kind"] == "whole_pose"
    for inputs in (exported.whole.given(x), exported.whole.given(x[:1])):
        with torch.no_grad():
            torch.testing.assert_close(program.module()(*inputs), exported.module(*inputs), atol=1e-5, rtol=1e-4)


def test_a_file_that_differs_from_torch_is_not_written(folder, tmp_path, monkeypatch):
    def off(content, path, runtime):
        right = open_session(content, path, runtime)
        return lambda *arrays: right(*arrays) + np.float32(3e-3)

    content = (folder / "pose.onnx").read_bytes()
    monkeypatch.setattr(writing, "to_onnx", lambda *_: content)
    monkeypatch.setattr(writing, "open_session", off)
    with pytest.raises(RunFailed, match=r"differs from torch by 0\.003 m, more than 0\.0001; nothing is written"):
        write(tmp_path / "pose.onnx", prepare(folder / "pose.safetensors"), example("pose"))
    assert not list(tmp_path.iterdir())


def test_int8_is_near_float32_and_runs_in_both(folder):
    exported = prepare(folder / "video.safetensors")
    inputs = exported.whole.given(example("video"))
    content = quantised((folder / "video.onnx").read_bytes(), inputs)
    model = onnx.load_model_from_string(content)
    assert sum(node.op_type == "QuantizeLinear" for node in model.graph.node) > 10
    maker = {name: node.op_type for node in model.graph.node for name in node.output}
    in_8_bits = [
        [maker.get(name) == "DequantizeLinear" for name in node.input[:2]]
        for node in model.graph.node
        if node.op_type in ("Conv", "MatMul", "Gemm")
    ]
    assert in_8_bits[:2] == [[False, False]] * 2
    assert in_8_bits[2:-3] == [[True, True]] * (len(in_8_bits) - 5)
    assert in_8_bits[-3:] == [[False, False]] * 3
    with torch.no_grad():
        expected = exported.module(*inputs).numpy().astype(np.float32)
    for runtime in ("onnxruntime", "openvino"):
        made = open_session(content, folder, runtime)(*(x.numpy() for x in inputs)).astype(np.float32)
        assert 0 < np.abs(made - expected).mean() < 0.15 * expected.std()


def test_int8_of_what_has_too_few_products_is_refused():
    def net(count):
        nodes = [onnx.helper.make_node("MatMul", [f"x{i}", "w"], [f"x{i + 1}"], f"product {i}") for i in range(count)]
        ends = [onnx.helper.make_tensor_value_info(name, 1, ["b", 4]) for name in ("x0", f"x{count}")]
        weight = onnx.helper.make_tensor("w", 1, [4, 4], np.eye(4, dtype=np.float32).ravel())
        graph = onnx.helper.make_graph(nodes, "net", ends[:1], ends[1:], [weight])
        opset = [onnx.helper.make_opsetid("", 17)]
        return onnx.helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()

    model = onnx.load_model_from_string(quantised(net(6), [torch.rand(5, 4)]))
    assert any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    with pytest.raises(BadInput, match="expected more than 5 products, got 5"):
        quantised(net(5), [torch.rand(5, 4)])


def test_examples_are_what_reaches_the_network():
    net = nn.Identity()
    x = torch.rand(7, 2)
    assert torch.equal(recorded(net, lambda: [net(part) for part in x.split(2)], 5), x[:5])
    assert torch.equal(recorded(net, lambda: net(x), 50), x)
    with pytest.raises(BadInput, match="no example reached"):
        recorded(net, lambda: None, 5)


def test_a_strangers_file_is_refused_in_a_line(folder, tmp_path):
    def refused(model, match):
        path = tmp_path / "x.onnx"
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        with pytest.raises(BadInput, match=match) as caught:
            read_exported(path, "onnxruntime")
        assert "\n" not in str(caught.value)

    good = (folder / "video.onnx").read_bytes()
    refused(b"", "has not written|no ONNX")
    refused(good[: len(good) // 2], "no ONNX file, or a damaged one")
    refused(np.random.default_rng(0).bytes(1000), "no ONNX file, or a damaged one")

    def changed(change):
        model = onnx.load_model_from_string(good)
        change(model)
        return model

    refused(changed(lambda m: m.ClearField("metadata_props")), "that `moga-st export` has not written")

    def elsewhere(tensor):
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../../../etc/passwd")

    def in_an_attribute(model):
        node = model.graph.node.add(op_type="Constant", output=["c"])
        elsewhere(node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t)

    def in_a_branch(model):
        node = model.graph.node.add(op_type="If", output=["c"])
        graph = node.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH).g
        elsewhere(graph.initializer.add(name="w", dims=[1], data_type=1))

    refused(changed(lambda m: elsewhere(m.graph.initializer[0])), "keeps tensors in other files")
    refused(changed(in_an_attribute), "keeps tensors in other files")
    refused(changed(in_a_branch), "keeps tensors in other files")
    refused(changed(lambda m: setattr(m.graph.node[0], "domain", "evil")), "operators of evil, which are not known")
    refused(changed(lambda m: setattr(m.graph.node[0], "op_type", "Nothing")), "onnxruntime does not take it")

    def told(**fields):
        def change(model):
            entry = next(p for p in model.metadata_props if p.key == "moga_st")
            entry.value = json.dumps({**json.loads(entry.value), **fields})

        return changed(change)

    whole = json.loads(onnx.load_model_from_string(good).metadata_props[0].value)["whole"]
    refused(told(whole={**whole, "height": 10**9}), "its metadata cannot be used: whole.height is 1e\\+09")
    refused(told(whole={"kind": "os:system"}), "its metadata cannot be used: unknown config kind")
    refused(told(model=None), "its metadata cannot be used")


def test_what_cannot_be_exported_is_refused_in_a_line(folder, tmp_path, capsys):
    torch.manual_seed(0)
    backbone = dataclasses.replace(IMAGE, classes=0)
    export_weights(tmp_path / "b.safetensors", backbone.build(), backbone, {})
    with pytest.raises(BadInput, match="backbone without a head"):
        prepare(tmp_path / "b.safetensors")
    unsized = VIDEO.fit(InputSpec((None,) * 4))
    export_weights(tmp_path / "v.safetensors", unsized.build(), unsized, {})
    with pytest.raises(BadInput, match="frame size: these weights do not say"):
        prepare(tmp_path / "v.safetensors")
    months = InputSpec((4, 1, 16, 16), (3, 1, 16, 16), ("u",), unit="m/s", anomalies="month")
    export_weights(tmp_path / "m.safetensors", VIDEO.build(), VIDEO, {}, spec=months, usual=torch.zeros(12, 1, 16, 16))
    with pytest.raises(BadInput, match="anomalies by month cannot be exported, since frames in a file have no dates"):
        prepare(tmp_path / "m.safetensors")
    for match, *arguments in (
        ("expected 1 to 4096, got 9999", "video.safetensors", "x.onnx", "--size", "9999"),
        ("name the output something.onnx or something.pt2", "video.safetensors", "x.pb"),
        ("--int8 is for .onnx files", "video.safetensors", "x.pt2", "--int8"),
        ("frames: are for video models", "pose.safetensors", "x.onnx", "--frames", "4"),
        ("size: is for frames and images", "pose.safetensors", "x.onnx", "--size", "4"),
        ("does not say which task it belongs to", "pose.safetensors", "x.onnx"),
        ("there is no folder", "pose.safetensors", "none/x.onnx"),
    ):
        weights, target, *flags = arguments
        code, _, said = run(capsys, "export", folder / weights, tmp_path / target, *flags)
        assert code == 2
        assert match in said
        assert said.count("\n") == 1


def test_predict_by_another_runtime_is_predict(folder, tmp_path):
    clip = np.random.default_rng(0).integers(0, 256, (9, 20, 24), np.uint8)
    np.save(tmp_path / "clip.npy", clip)
    expected = moga_st.predict(folder / "video.safetensors", tmp_path / "clip.npy", frames=5)
    made = moga_st.predict(folder / "video.safetensors", tmp_path / "clip.npy", frames=5, runtime="openvino")
    assert made.frames.shape == (5, 1, 20, 24)
    np.testing.assert_allclose(made.frames, expected.frames.clip(0, 1), atol=1.01 / 255)
    np.testing.assert_array_equal(made.truth, expected.truth)


@pytest.mark.parametrize("unit", ["", "m/s"])
def test_anomalies_of_a_scene_come_out_as_values_with_the_scene_inside(tmp_path, capsys, unit):
    torch.manual_seed(0)
    scale = ((0.0,), (2.0,), unit) if unit else ((0.0,), (1.0,), "")
    spec = InputSpec((4, 1, 16, 16), (3, 1, 16, 16), ("grey",), *scale, anomalies="")
    usual = torch.rand(1, 1, 16, 16) * 0.5 + 0.25
    weights, clip, out = (tmp_path / name for name in ("w.safetensors", "clip.npy", "w.onnx"))
    net = dataclasses.replace(VIDEO, residual=True, fade=True, motion=True)
    made = trained(net)
    made.load_state_dict({k: v * 0.1 if "readout" in k else v for k, v in made.state_dict().items()})
    export_weights(weights, made, net, {}, spec=spec, usual=usual)
    frames = np.random.default_rng(0).integers(60, 190, (9, 16, 16), np.uint8)
    np.save(clip, frames.astype(np.float32) / 64 if unit else frames)
    expected = moga_st.predict(weights, clip)
    assert run(capsys, "export", weights, out, "--check", clip)[0] == 0
    for found in (moga_st.predict(out, clip), moga_st.predict(weights, clip, runtime="openvino")):
        np.testing.assert_allclose(found.values(), expected.values(), atol=1e-3 if unit else 1.01 / 255)
    assert np.abs(expected.frames - expected.past[-1]).max() > 0.05  # it predicts something
    np.save(clip, np.zeros((9, 40, 40), np.uint8 if not unit else np.float32))
    for flags in ([out], [weights, "--runtime", "openvino"], [weights]):
        code, _, said = run(capsys, "predict", flags[0], clip, *flags[1:], "--out", tmp_path)
        assert code == 2
        assert "knows what is usual at each place of 16x16 frames; give that as the size" in said


def test_large_frames_go_through_a_file_of_one_size_in_tiles(folder, tmp_path, capsys):
    whole = np.random.default_rng(0).integers(0, 256, (4, 1, 40, 24)).astype(np.float32) / 255
    expected = predict_frames(Sixteen(load(folder / "video.safetensors").net), torch.from_numpy(whole), None, (16, 16))
    net = read_exported(folder / "video.onnx", "onnxruntime").net
    made = predict_frames(net, torch.from_numpy(whole), None, (64, 64))
    np.testing.assert_allclose(made, expected, atol=1.01 / 255)
    np.save(tmp_path / "small.npy", np.zeros((4, 12, 16), np.uint8))
    code, _, said = run(capsys, "predict", folder / "video.onnx", tmp_path / "small.npy", "--out", tmp_path)
    assert code == 2
    assert "takes frames of 16 x 16, these are 12 x 16" in said
    np.save(tmp_path / "right.npy", np.zeros((4, 16, 16), np.uint8))
    code, _, said = run(capsys, "predict", folder / "video.onnx", tmp_path / "right.npy", "--frames", "4")
    assert code == 2
    assert "predicts 3, not 4" in said


class Sixteen(nn.Module):
    """A network whose frames are clipped, in tiles of 16 pixels."""

    fixed_size = (16, 16)

    def __init__(self, net):
        super().__init__()
        self.net = net

    @torch.no_grad()
    def forward(self, clip, frames):
        return self.net(clip, frames).clamp(0, 1)


@pytest.mark.parametrize("name", ["pose", "person"])
def test_lift_by_another_runtime_is_lift(folder, name):
    points = np.random.default_rng(0).random((8, 17, 3)) * (600, 400, 1)
    seen = np.random.default_rng(1).random((8, 22, 3)) * (600, 400, 1)
    keypoints = Keypoints(points, (640, 480), 25.0, "h36m", 0, 1, "", canonical_px=seen)
    expected = moga_st.lift(folder / f"{name}.safetensors", keypoints)
    made = moga_st.lift(folder / f"{name}.onnx", keypoints, runtime="openvino")
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(made, expected, atol=1e-3)


def test_classify_by_another_runtime_is_classify(folder, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)).save(tmp_path / "a.png")
    (expected,) = load_classifier(folder / "image.safetensors")([tmp_path / "a.png"])
    for runtime in ("onnxruntime", "openvino"):
        classifier = load_classifier(folder / "image.onnx", runtime=runtime)
        (made,) = classifier([tmp_path / "a.png"])
        assert [name for name, _ in made.top] == [name for name, _ in expected.top]
        # bytes go in, where torch has the view before it is rounded to them
        np.testing.assert_allclose([v for _, v in made.top], [v for _, v in expected.top], atol=0.01)
        with pytest.raises(BadInput, match="heat maps are drawn for MogaNet run by torch"):
            list(classifier([tmp_path / "a.png"], cam=True))


def test_the_verb_writes_what_it_has_checked_on_a_file(folder, tmp_path, capsys):
    np.save(tmp_path / "clip.npy", np.random.default_rng(0).integers(0, 256, (9, 16, 16), np.uint8))
    out = tmp_path / "out.onnx"
    out.symlink_to(tmp_path / "elsewhere")
    arguments = (folder / "video.safetensors", out, "--check", tmp_path / "clip.npy", "--frames", "2", "--json")
    code, said, _ = run(capsys, "export", *arguments)
    assert code == 0
    record = json.loads(said)
    assert record["largest_difference"] <= record["allowed"] == 1
    assert record["checked_on"].endswith("clip.npy")
    assert record["made_by"]["versions"]["torch"]
    assert out.is_file()
    assert not out.is_symlink()
    assert not (tmp_path / "elsewhere").exists()
    assert read_exported(out, "onnxruntime").net(example("video")).shape == (3, 2, 1, 16, 16)


SCRIPT = Path(__file__).parents[1] / "examples" / "run_onnx.py"
WITHOUT = "import runpy, sys; sys.modules |= dict.fromkeys({0!r}); sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0])"
OURS = ("torch", "moga_st", "onnx", "openvino", "imageio")


def run_alone(*arguments):
    own = os.environ.get("MOGA_ST_ONNX_PYTHON")
    python = [own, "-I"] if own else [sys.executable, "-c", WITHOUT.format(OURS)]
    command = [*python, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=SCRIPT.parents[1].parent).stdout


def test_the_environment_leaves_the_example_alone():
    own = os.environ.get("MOGA_ST_ONNX_PYTHON")
    if own is None:
        assert importlib.util.find_spec("torch") is not None  # so that putting it out of reach does something
        return
    listed = subprocess.run([own, "-m", "pip", "list", "--format=freeze"], check=True, capture_output=True, text=True)
    names = {line.partition("==")[0].lower() for line in listed.stdout.splitlines()}
    assert {"numpy", "onnxruntime", "pillow"} <= names
    assert not names & {"torch", "moga_st", "moga-st", "onnx"}


def test_a_clip_is_predicted_alone(folder, tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (4, 16, 16), np.uint8)
    pages = [Image.fromarray(frame) for frame in frames]
    pages[0].save(tmp_path / "clip.gif", save_all=True, append_images=pages[1:])
    run_alone(folder / "video.onnx", tmp_path / "clip.gif")
    with Image.open(tmp_path / "clip_predicted.gif") as gif:
        made = np.stack([np.asarray(page.convert("L")) for page in ImageSequence.Iterator(gif)])
    exported = prepare(folder / "video.safetensors")
    expected = exported.module(torch.from_numpy(frames)[None, ..., None])[0, ..., 0].numpy()
    assert np.abs(made.astype(int) - expected).max() <= 1


def test_an_image_is_classified_alone(folder, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)).save(tmp_path / "a.png")
    lines = [line.split() for line in run_alone(folder / "image.onnx", tmp_path / "a.png").splitlines()]
    assert {name for name, _ in lines} == {"cat", "dog", "cow"}
    shares = [float(share) for _, share in lines]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=2e-4)


def test_a_person_is_lifted_alone(folder, tmp_path):
    exported = prepare(folder / "person.safetensors")
    inputs = exported.whole.sample(2)
    names = exported.whole.inputs()
    save_npz(tmp_path / "p.npz", {name: x.numpy() for name, x in zip(names, inputs, strict=True)})
    run_alone(folder / "person.onnx", tmp_path / "p.npz")
    np.testing.assert_allclose(np.load(tmp_path / "p_3d.npy"), exported.module(*inputs).detach(), atol=1e-3)
