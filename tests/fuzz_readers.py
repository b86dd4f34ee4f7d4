"""Every reader of files, with small valid ones for it; ``tests/fuzz_edits.py`` damages them, and a reader may give back
what is in them or raise BadInput; nothing else."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from safetensors.torch import save as safetensors_bytes

from moga_st import checkpoint, convert, pretrained, storage
from moga_st.data.pose import human36m, mocap
from moga_st.data.pose.camera import Camera
from moga_st.data.pose.prepared_poses import MotionClip, View, describe, read_clips, write_poses
from moga_st.data.video import digits
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig
from tests.fuzz_edits import Reader
from tests.fuzz_media import MEDIA
from tests.fuzz_networks import NETWORKS

# the readers


def _npz(values: dict[Any, Any]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in values.items():
            with archive.open(f"{name}.npy", "w") as entry:
                try:
                    array = np.asarray(value)
                except (ValueError, OverflowError):
                    array = np.array([value, None], object)
                np.lib.format.write_array(entry, array, allow_pickle=True)
    return out.getvalue()


def _torch(value: Any, new: bool = True) -> bytes:
    out = io.BytesIO()
    torch.save(value, out, _use_new_zipfile_serialization=new)
    return out.getvalue()


def _json(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "replace")


def _pose_file() -> list[bytes]:
    rng = np.random.default_rng(0)
    eye = torch.eye(3, dtype=torch.float64)
    two = torch.ones(2, dtype=torch.float64)
    camera = Camera(eye, torch.zeros(3, dtype=torch.float64), two * 1000, two * 500, two * 1000)
    view = View(camera, keypoints={"cpn": rng.random((4, 17, 2)).astype(np.float32)})
    clip = MotionClip("S1/a", "S1", "a", 50.0, rng.random((4, 17, 3)).astype(np.float32), {"c": view})
    with tempfile.TemporaryDirectory() as folder:
        write_poses(Path(folder) / "p.h5", [clip], "source", "licence")
        return [(Path(folder) / "p.h5").read_bytes()]


def _weights() -> tuple[bytes, dict[str, Any]]:
    config = SimVPConfig(frames_in=2, width=4, layers=2, translator=MogaTranslatorConfig(width=8, depth=2))
    net = config.build()
    with tempfile.TemporaryDirectory() as folder:
        pretrained.export_weights(Path(folder) / "w.safetensors", net, config, {"step": 3})
        return (Path(folder) / "w.safetensors").read_bytes(), {"model": config.to_dict(), "about": {"step": 3}}


def _with_config(content: Any) -> bytes:
    tensors, _ = storage.read_safetensors(Path(pretrained.SHIPPED / "mmnist_compact.safetensors"))
    return safetensors_bytes(dict(list(tensors.items())[:3]), {"moga_st": json.dumps(content)})


ASF = b"""# AST/ASF file
:version 1.10
:units
  mass 1.0
  length 0.45
  angle deg
:root
  order TX TY TZ RX RY RZ
  axis XYZ
  position 0 0 0
  orientation 0 0 0
:bonedata
  begin
    id 1
    name upper
    direction 1 0 0
    length 10
    axis 10 20 30 XYZ
    dof rz
  end
:hierarchy
  begin
    root upper
  end
"""
AMC = b":FULLY-SPECIFIED\n:DEGREES\n" + b"".join(b"%d\nroot 0 1 2 3 4 5\nupper %d\n" % (i, i) for i in range(1, 6))


def _read_amc(path: Path) -> None:
    skeleton = path.with_name("ok.asf")
    skeleton.write_bytes(ASF)
    body = mocap.read_asf(skeleton)
    mocap.joints_m(body, mocap.read_amc(path, body), 120, 50)


def _videopose3d() -> list[Any]:
    rng = np.random.default_rng(0)
    return [{"positions_3d": {"S1": {"Walking 1": rng.random((3, 32, 3)).astype(np.float32)}}}]


def _pack() -> list[Any]:
    rng, n = np.random.default_rng(0), 6
    part = {
        "joint_2d": rng.random((n, 17, 2)),
        "joint3d_image": rng.random((n, 17, 3)),
        "confidence": np.ones((n, 17, 1)),
    }
    part |= {"camera_name": ["54138969"] * n, "source": ["s_01_act_02_subact_01_ca_01"] * n}
    part |= {"2.5d_factor": np.ones(n), "joints_2.5d_image": rng.random((n, 17, 3))}
    return [{"train": part}]


def _keypoints() -> list[Any]:
    rng = np.random.default_rng(0)
    xy = (300 + 200 * rng.random((4, 17, 2))).round(1).tolist()
    flat = [[c for x, y in frame for c in (x, y, 0.9)] for frame in xy]
    instances = [{"keypoints": f, "keypoint_scores": [0.9] * 17, "track_id": 1} for f in xy]
    return [
        [{"image_id": i, "category_id": 1, "keypoints": f, "score": 0.9} for i, f in enumerate(flat)],
        [{"image_id": f"{i}.jpg", "keypoints": f, "score": 2.1, "idx": [1]} for i, f in enumerate(flat)],
        [{"people": [{"person_id": [-1], "pose_keypoints_2d": f + [400, 400, 0.5] * 8}]} for f in flat],
        {
            "meta_info": {"size_px": [1000, 1000], "fps": 25.0, "layout": "coco"},
            "instance_info": [{"frame_id": i, "instances": [p]} for i, p in enumerate(instances)],
        },
    ]


def _read_npz(path: Path) -> None:
    with storage.open_npz(path) as file:
        for name in file.names:
            file.value(name)


def _read_weights(path: Path) -> None:
    found = pretrained.read_weights(path)
    checkpoint.build_exactly(found.model.build, found.tensors, path)


def _plain() -> list[Any]:
    arrays = {"a": np.arange(6.0).reshape(2, 3), "t": np.array(["x", "yy"]), "i": np.arange(3), "s": np.float32(2)}
    return [{**arrays, "l": [1, 2.5, "é", b"q", (1, 2), None], "d": {"x": {"y": np.ones(2, np.float16)}}}]


def _published() -> list[Any]:
    net = SimVPConfig(frames_in=2, width=4, layers=2, translator=MogaTranslatorConfig(width=8, depth=2)).build()
    names = {"encoder.layers": "enc.enc", "translator.blocks": "hid.enc", "spatial": "attn", "channel": "mlp"}
    state = {}
    for key, tensor in net.state_dict().items():
        for ours, theirs in names.items():
            key = key.replace(ours, theirs)
        state[key] = tensor
    return [{"state_dict": state, "meta": {"epoch": 3}}, {"model": state}]


def _idx() -> list[bytes]:
    import gzip

    raw = b"\0\0\x08\x03" + struct.pack(">3I", 3, 5, 4) + bytes(60)
    return [raw, gzip.compress(raw)]


def _npy() -> list[bytes]:
    out = []
    for array in (
        np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        np.random.default_rng(0).random((3, 1, 4, 4)),
        np.array("x"),
    ):
        file = io.BytesIO()
        np.lib.format.write_array(file, array)
        out.append(file.getvalue())
    return out


def _hdf5() -> list[bytes]:
    file = io.BytesIO()
    with h5py.File(file, "w") as out:
        out.create_dataset("g/x", data=np.arange(60.0).reshape(20, 3), chunks=(5, 3), compression="gzip")
        out["g"].attrs["name"] = "n"
    return [file.getvalue()]


def _read_hdf5(path: Path) -> None:
    with storage.open_hdf5(path) as file:
        storage.attribute(file["g"], "name", str)
        storage.read_dataset(file["g/x"])


READERS = {
    "json": Reader("k.json", list, storage.read_json, _keypoints, _json),
    "npy": Reader("c.npy", _npy, storage.read_npy),
    "npz": Reader("a.npz", lambda: [_npz(v) for v in _plain()], _read_npz, _plain, _npz),
    "pickle": Reader(
        "p.pkl",
        lambda: [pickle.dumps(v, n) for v in _plain() for n in range(6)],
        storage.read_pickle,
        _plain,
        pickle.dumps,
    ),
    "idx": Reader("d-idx3-ubyte", _idx, lambda p: digits._parse_idx(p, digits._bytes(p))),
    "hdf5": Reader("a.h5", _hdf5, _read_hdf5),
    "poses": Reader("p.h5", _pose_file, lambda p: (list(read_clips(p)), describe(p))),
    "torch": Reader(
        "a.pth", lambda: [_torch(v) for v in _published()], lambda p: storage.read_torch(p, strangers=True)
    ),
    "torch_legacy": Reader(
        "a.pth", lambda: [_torch(v, False) for v in _published()], lambda p: storage.read_torch(p, strangers=True)
    ),
    "checkpoint": Reader("last.pt", lambda: [_torch(v) for v in _published()], checkpoint.load, _published, _torch),
    "convert": Reader("a.pth", list, lambda p: convert.convert(p, "openstl"), _published, _torch),
    "weights": Reader("w.safetensors", lambda: [_weights()[0]], _read_weights, lambda: [_weights()[1]], _with_config),
    "videopose3d": Reader(
        "data_3d_h36m.npz", list, lambda p: list(human36m._from_videopose3d([p])), _videopose3d, _npz
    ),
    "motionbert": Reader(
        "h36m_x_cam_source.pkl", list, lambda p: list(human36m._from_motionbert([p])), _pack, pickle.dumps
    ),
    "asf": Reader("a.asf", lambda: [ASF], mocap.read_asf),
    "amc": Reader("a.amc", lambda: [AMC], _read_amc),
    **MEDIA,
    **NETWORKS,
}
