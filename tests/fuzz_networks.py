"""Readers of networks from elsewhere, ONNX, timm and what `convert` takes, and of truth to score against."""

from __future__ import annotations

import functools
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as safetensors_bytes

from moga_st import convert
from moga_st.infer import classify
from moga_st.infer.truth import read_truth
from tests.fuzz_edits import Reader
from tests.fuzz_media import ABOUT, CLASSIFIER, body, classifier_weights, lifted, npz_bytes

WIDTHS = CLASSIFIER.widths


@functools.cache
def content() -> dict[str, Any]:
    """What an exported classifier says of itself."""
    from moga_st.export.write import prepare

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "w.safetensors").write_bytes(classifier_weights(ABOUT))
        return prepare(Path(folder) / "w.safetensors").content


def onnx_bytes(said: Any) -> bytes:
    """A small network that says this of itself: the mean over an image, twice."""
    from onnx import TensorProto, helper, numpy_helper

    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 32, 32, 3])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 2])
    weight = numpy_helper.from_array(np.ones((3, 2), np.float32), "weight")
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "weight"], ["scores"]),
    ]
    graph = helper.make_graph(nodes, "classifier", [image], [scores], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.metadata_props.add(key="moga_st", value=json.dumps(said))
    return model.SerializeToString()


def read_onnx(path: Path) -> None:
    for runtime in ("onnxruntime", "openvino"):
        classify.load_classifier(path, runtime=runtime)


@functools.cache
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return CLASSIFIER.build().state_dict()


def published() -> list[Any]:
    moganet, openmixup = convert.publish(dict(state()), "moganet"), convert.publish(dict(state()), "openmixup")
    hook = {f"ema_{k.replace('.', '_')}": v for k, v in moganet.items()}
    counted = {"patch_embed1.total_ops": torch.zeros(1), **moganet}
    return [{"state_dict": moganet, "state_dict_ema": moganet}, openmixup, {"model": {**moganet, **hook}}, counted]


def pose_checkpoints() -> list[Any]:
    backbone = {k: v for k, v in convert.publish(dict(state()), "openmixup").items() if k.startswith("backbone.")}
    layer, norm = "keypoint_head.deconv_layers.0.weight", "keypoint_head.deconv_layers.1."
    head = {layer: torch.zeros(WIDTHS[-1], 4, 4, 4), "keypoint_head.final_layer.weight": torch.zeros(17, 4, 1, 1)}
    head |= {norm + name: torch.ones(4) for name in ("weight", "bias", "running_mean", "running_var")}
    head |= {norm + "num_batches_tracked": torch.tensor(1), "keypoint_head.final_layer.bias": torch.zeros(17)}
    return [{"state_dict": {**backbone, **head}, "meta": {"epoch": 1}}]


def torch_bytes(value: Any) -> bytes:
    out = io.BytesIO()
    torch.save(value, out)
    return out.getvalue()


def timm_state() -> dict[str, torch.Tensor]:
    import timm

    return timm.create_model("test_vit", num_classes=2).state_dict()


def read_timm(path: Path) -> None:
    from moga_st.integrations.timm_weights import load_timm

    load_timm("test_vit", path)


def truth_bytes() -> list[bytes]:
    file = io.BytesIO()
    np.lib.format.write_array(file, body())
    return [file.getvalue()]


NETWORKS = {
    "onnx": Reader("w.onnx", lambda: [onnx_bytes(content())], read_onnx, lambda: [content()], onnx_bytes),
    "convert_classifier": Reader("a.pth", list, lambda p: convert.convert(p, "moganet"), published, torch_bytes),
    "convert_pose": Reader("a.pth", list, convert.convert_pose, pose_checkpoints, torch_bytes),
    "timm": Reader("a.pth", list, read_timm, lambda: [timm_state(), {"model": timm_state()}], torch_bytes),
    "timm_safetensors": Reader("a.safetensors", lambda: [safetensors_bytes(timm_state())], read_timm),
    "truth_npy": Reader("t.npy", truth_bytes, read_truth),
    "truth_npz": Reader("t.npz", list, read_truth, lifted, npz_bytes),
    "class_names": Reader("names.txt", lambda: [b"cat\ndog\n"], lambda p: classify._names("w", p, None, 2)),
}
