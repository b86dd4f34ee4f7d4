"""Motion as glTF 2.0 (.glb): an animated skeleton with a simple skin, which Blender, Unity, Unreal and browsers show.

Nodes are the 17 joints, each turned against its parent, in metres, y up, facing +z at rest, as glTF wants it.  The skin
is a slim double pyramid along every bone, which moves with the joint that it starts at.  pygltflib, which holds the
format's structure, is the extra ``moga-st[motion]``.

Shape legend: ``t`` frames, 17 joints, ``v`` vertices.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from moga_st.data.pose.export.motion import Motion
from moga_st.data.pose.rig import NAMES, Rig, fit_rig
from moga_st.data.pose.skeleton import PARENTS
from moga_st.errors import BadInput
from moga_st.storage import write_atomically

_FLOAT, _BYTE = 5126, 5121  # the format's numbers for float32 and uint8
_ARRAY = 34962  # a buffer view of vertices
_COLOURS = {"L": (0.0, 0.114, 0.515, 1.0), "R": (0.791, 0.262, 0.0, 1.0)}  # blue and orange, linear; the rest dark
_DARK = (0.061, 0.061, 0.061, 1.0)
WIDTH = 0.12  # of a bone, in its lengths


def write_gltf(path: Path, motion: Motion) -> None:
    """Write the motion as a binary glTF file, atomically.

    Raises:
        BadInput: pygltflib is not there, or the poses are no motion.
    """
    try:
        gltf: Any = importlib.import_module("pygltflib")
    except ImportError as error:
        raise BadInput(
            f"{path}: glTF needs pygltflib ({error}); install it with `pip install 'moga-st[motion]'`"
        ) from error
    rig = fit_rig(motion.poses_m)
    data = _Data(gltf)
    children = {joint: [j for j, parent in enumerate(PARENTS) if parent == joint] for joint in range(len(PARENTS))}
    nodes = [
        gltf.Node(name=name, translation=rig.offsets_m[j].tolist(), children=children[j])
        for j, name in enumerate(NAMES)
    ]
    nodes[0].translation = rig.root_m[0].tolist()
    nodes.append(gltf.Node(name="Body", mesh=0, skin=0))
    skin = gltf.Skin(
        joints=list(range(len(NAMES))), skeleton=0, inverseBindMatrices=data.add(_unbind(rig), "MAT4"), name="Body"
    )
    place, outwards, joint, colour = _skin(rig)
    weights = np.zeros((len(joint), 4), np.float32)
    weights[:, 0] = 1
    joints = np.zeros((len(joint), 4), np.uint8)
    joints[:, 0] = joint
    attributes = gltf.Attributes(
        POSITION=data.add(place, "VEC3", _ARRAY, bounds=True),
        NORMAL=data.add(outwards, "VEC3", _ARRAY),
        COLOR_0=data.add(colour, "VEC4", _ARRAY),
        JOINTS_0=data.add(joints, "VEC4", _ARRAY),
        WEIGHTS_0=data.add(weights, "VEC4", _ARRAY),
    )
    material = gltf.Material(
        name="Body", pbrMetallicRoughness=gltf.PbrMetallicRoughness(metallicFactor=0.0, roughnessFactor=0.8)
    )
    file = gltf.GLTF2(
        asset=gltf.Asset(version="2.0", generator="moga_st"),
        scene=0,
        scenes=[gltf.Scene(nodes=[0, len(NAMES)])],
        nodes=nodes,
        skins=[skin],
        meshes=[gltf.Mesh(name="Body", primitives=[gltf.Primitive(attributes=attributes, material=0)])],
        materials=[material],
        animations=[_animation(gltf, data, rig, motion.time_s - motion.time_s[0])],
    )
    data.finish(file)
    write_atomically(path, lambda part: file.save_binary(str(part)))


def _animation(gltf: Any, data: _Data, rig: Rig, seconds: np.ndarray) -> Any:
    """Turns of every joint that has a child, and the hip's path."""
    from scipy.spatial.transform import Rotation  # slow to come in, and every lift brings this module

    time = data.add(seconds.astype(np.float32), "SCALAR", bounds=True)
    curves = [(0, "translation", data.add(rig.root_m.astype(np.float32), "VEC3"))]
    for joint in sorted({parent for parent in PARENTS if parent >= 0}):
        quaternion = Rotation.from_matrix(rig.turns[:, joint]).as_quat()  # x y z w, as glTF has it
        # q and -q are one turn; the nearer one to the frame before, since players go straight from one to the next
        same = np.where((quaternion[1:] * quaternion[:-1]).sum(-1) < 0, -1.0, 1.0)
        quaternion[1:] *= np.cumprod(same)[:, None]
        curves.append((joint, "rotation", data.add(quaternion.astype(np.float32), "VEC4")))
    return gltf.Animation(
        name="Motion",
        samplers=[gltf.AnimationSampler(input=time, output=values, interpolation="LINEAR") for _, _, values in curves],
        channels=[
            gltf.AnimationChannel(sampler=i, target=gltf.AnimationChannelTarget(node=node, path=path))
            for i, (node, path, _) in enumerate(curves)
        ],
    )


def _at_rest(rig: Rig) -> np.ndarray:
    """The joints (17, 3) in the rest pose, the hip at the origin."""
    rest = np.zeros((len(PARENTS), 3))
    for joint, parent in enumerate(PARENTS[1:], 1):
        rest[joint] = rest[parent] + rig.offsets_m[joint]
    return rest


def _unbind(rig: Rig) -> np.ndarray:
    """The matrices (17, 4, 4) from the rest pose's space to each joint's, column by column."""
    matrices = np.tile(np.eye(4, dtype=np.float32), (len(PARENTS), 1, 1))
    matrices[:, 3, :3] = -_at_rest(rig)
    return matrices


def _skin(rig: Rig) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A double pyramid along every bone at rest: places and normals (v, 3), joints (v,) and colours (v, 4), three
    vertices a triangle."""
    rest = _at_rest(rig)
    bones = [(parent, rest[parent], rest[j], NAMES[j]) for j, parent in enumerate(PARENTS) if parent >= 0]
    bones += [(j, rest[j], rest[j] + end, NAMES[j]) for j, end in rig.ends_m().items()]
    places, normals, joints, colours = [], [], [], []
    for joint, start, end, name in bones:
        along = end - start
        length = float(np.linalg.norm(along))
        if length < 1e-6:
            continue
        side = np.cross(along, np.eye(3)[np.abs(along).argmin()])
        side *= WIDTH * length / np.linalg.norm(side)
        other = np.cross(along, side) / length
        ring = [start + 0.2 * along + corner for corner in (side, other, -side, -other)]
        for a, b in zip(ring, [*ring[1:], ring[0]], strict=True):
            for triangle in ((start, b, a), (end, a, b)):
                normal = np.cross(triangle[1] - triangle[0], triangle[2] - triangle[0])
                places += triangle
                normals += [normal / np.linalg.norm(normal)] * 3
        joints += [joint] * 24
        colours += [_COLOURS.get(name[0] if name[1:2].isupper() else "", _DARK)] * 24
    return (
        np.array(places, np.float32),
        np.array(normals, np.float32),
        np.array(joints, np.uint8),
        np.array(colours, np.float32),
    )


class _Data:
    """The file's one buffer, and the accessors into it."""

    def __init__(self, gltf: Any):
        self._gltf = gltf
        self._blob = bytearray()
        self._views: list[Any] = []
        self._accessors: list[Any] = []

    def add(self, values: np.ndarray, kind: str, target: int | None = None, bounds: bool = False) -> int:
        """Append an array; the accessor's number."""
        values = np.ascontiguousarray(values)
        flat = values.reshape(len(values), -1)
        self._views.append(
            self._gltf.BufferView(buffer=0, byteOffset=len(self._blob), byteLength=values.nbytes, target=target)
        )
        self._blob += values.tobytes()
        self._blob += b"\0" * (-len(self._blob) % 4)
        self._accessors.append(
            self._gltf.Accessor(
                bufferView=len(self._views) - 1,
                componentType=_BYTE if values.dtype == np.uint8 else _FLOAT,
                count=len(values),
                type=kind,
                min=flat.min(0).tolist() if bounds else None,
                max=flat.max(0).tolist() if bounds else None,
            )
        )
        return len(self._accessors) - 1

    def finish(self, file: Any) -> None:
        """Put the buffer into the file."""
        file.accessors, file.bufferViews = self._accessors, self._views
        file.buffers = [self._gltf.Buffer(byteLength=len(self._blob))]
        file.set_binary_blob(bytes(self._blob))
