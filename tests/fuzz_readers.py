"""Damaged and hostile files for every reader.

A reader is called with a file and may give back what is in it or raise BadInput; nothing else.  Its files are small
valid ones, changed by edits: bytes flipped, cut, repeated, overwritten by extreme numbers; and, where the format holds
a structure (JSON, pickles, npz, checkpoints), values swapped for others, nested, huge, negative, NaN.
"""

from __future__ import annotations

import copy
import functools
import io
import json
import math
import pickle
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from safetensors.torch import save as safetensors_bytes

from moga_st import checkpoint, convert, pretrained, storage
from moga_st.data.pose import human36m, mocap
from moga_st.data.pose.camera import Camera
from moga_st.data.pose.prepared_poses import MotionClip, View, describe, read_clips, write_poses
from moga_st.data.video import digits
from moga_st.errors import BadInput
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig


class Reader(NamedTuple):
    """One reader: the name of its file, valid contents for it, and the call."""

    file: str
    valid: Callable[[], list[bytes]]
    read: Callable[[Path], Any]
    objects: Callable[[], list[Any]] = list
    """Structures for it, to be changed before they are written."""
    write: Callable[[Any], bytes] = repr  # type: ignore[assignment]


Edit = tuple[int, float, int]
"""Which change, where in the file (0 to 1), and a number that it may use."""
NUMBERS = (0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1, 10**9)
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2, 10**9, -(10**9), 2**31, 2**63, 10**30, 1.5, -0.0, 1e300, -1e38, math.nan, math.inf, ""),
    *("x", "9" * 50, "\x1b[2J\n", "a/../../b", "é\ud800", [], {}, [[]], [1, [2, 3]], {"x": {"y": []}}, [math.nan] * 3),
    *("[" * 300, [[[[[[[[1]]]]]]]], [0] * 1000, {str(i): i for i in range(50)}),
)


def edit_bytes(raw: bytes, edits: list[Edit]) -> bytes:
    """``raw`` after some edits."""
    out = bytearray(raw)
    for kind, where, number in edits:
        at, size = int(where * len(out)), number % 64
        if kind == 0 and out:
            out[min(at, len(out) - 1)] ^= 1 << number % 8
        elif kind == 1:
            del out[at:]
        elif kind == 2:
            del out[at : at + size]
        elif kind == 3:
            out[at:at] = out[at // 2 : at // 2 + size]
        elif kind == 4:
            form = "<>"[number % 2] + "BHIQ"[number // 2 % 4]
            value = NUMBERS[number // 8 % len(NUMBERS)]
            field = struct.pack(form, value % 2 ** (8 * struct.calcsize(form)))
            out[at : at + len(field)] = field
        elif kind == 5:  # a number in a text
            out[at:at] = (b"9", b"-", b"e9", b"nan", b"\0", b"\xff", b"[", b"{", b"(", b"\n")[number % 10]
        else:
            out[at : at + size] = bytes([number % 256]) * size
    return bytes(out)


def edit_object(value: Any, edits: list[Edit]) -> Any:
    """``value`` after some edits of what it holds."""
    value = copy.deepcopy(value)
    for kind, where, number in edits:
        places = _places(value)
        if not places:
            return VALUES[number % len(VALUES)]
        holder, key = places[min(int(where * len(places)), len(places) - 1)]
        old, other = holder[key], VALUES[number % len(VALUES)]
        if kind == 0 and isinstance(holder, dict):
            del holder[key]
        elif kind == 1 and isinstance(holder, list):
            holder.insert(key, other)
        elif kind == 2:
            holder[key] = [old]
        elif kind == 3 and isinstance(holder, dict):
            holder[f"{key}"[: number % 9] + "x"] = old
        elif kind == 4 and isinstance(old, np.ndarray):
            holder[key] = _edit_array(old, number)
        elif kind == 5 and isinstance(old, torch.Tensor):
            holder[key] = old.reshape(-1)[: number % 5].to((torch.float64, torch.int32, torch.bool)[number % 3])
        else:
            holder[key] = other
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container and key in ``value`` under which something stands."""
    found, todo = [], [value]
    while todo and len(found) < 2000:
        holder = todo.pop()
        keys = holder if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in list(keys):
            found.append((holder, key))
            todo.append(holder[key])
    return found


def _edit_array(array: np.ndarray, number: int) -> Any:
    ways: tuple[Callable[[], Any], ...] = (
        lambda: array[: number % 3],
        lambda: array.reshape(-1),
        lambda: array[None],
        lambda: array.astype(("f2", "i8", "?", "U5", "S3", ">f8")[number % 6]),
        lambda: np.full_like(array, (math.nan, math.inf, 1e30)[number % 3]) if array.dtype.kind == "f" else array[:0],
        lambda: array.T,
        lambda: np.array([array.tolist(), None], object),
    )
    return ways[number // 6 % len(ways)]()


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
}


@functools.cache
def _material(reader: Reader) -> tuple[list[bytes], list[Any]]:
    return reader.valid(), reader.objects()


def spoilt(reader: Reader, choice: int, edits: list[Edit]) -> bytes | None:
    """The content of a file for a reader; None where an edited structure cannot be written."""
    valid, objects = _material(reader)
    n = choice % (len(valid) + len(objects))
    if n < len(valid):
        return edit_bytes(valid[n], edits)
    try:
        return reader.write(edit_object(objects[n - len(valid)], edits))
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def outcome(reader: Reader, content: bytes, folder: Path) -> str:
    """ "accepted", "refused", or the name of an error that is no BadInput."""
    path = folder / reader.file
    path.write_bytes(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(path)
    except BadInput as error:
        return "refused" if path.name in str(error) or "clip " in str(error) else f"nameless: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "accepted"
