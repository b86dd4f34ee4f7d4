"""The 17-joint body, the keypoint layouts that convert to it, and mirror images.

Shape legend: ``j`` joints of a layout, ``c`` channels: 2 (x, y), or 3: (x, y, z) of a pose or (x, y,
confidence) of keypoints.  "Left" is the person's left.  Leading dimensions are free.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from moga_st.errors import BadInput

JOINTS = (
    *("Hip", "RHip", "RKnee", "RFoot", "LHip", "LKnee", "LFoot", "Spine", "Thorax", "Neck/Nose", "Head"),
    *("LShoulder", "LElbow", "LWrist", "RShoulder", "RElbow", "RWrist"),
)
"""Human3.6M-17. The feet are the ankles; Thorax is the base of the neck, Neck/Nose the front of the head's base."""

PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)
"""Of each joint; a parent comes before its children, and the root has -1."""

BONES = tuple((parent, joint) for joint, parent in enumerate(PARENTS) if parent >= 0)

PARTS = {
    "torso": (0, 7, 8, 9, 10),
    "right leg": (1, 2, 3),
    "left leg": (4, 5, 6),
    "left arm": (11, 12, 13),
    "right arm": (14, 15, 16),
}
"""The body's parts from the trunk outwards: every joint in one of them."""


def mirror(joints: tuple[str, ...]) -> tuple[int, ...]:
    """For each joint the index of the one on the other side, by the names' leading L and R; its own if central."""
    other = {"L": "R", "R": "L"}
    index = {name: i for i, name in enumerate(joints)}
    return tuple(index.get(other.get(name[0], "") + name[1:], i) for i, name in enumerate(joints))


MIRROR = mirror(JOINTS)
LEFT = tuple(i for i, name in enumerate(JOINTS) if name[0] == "L")
RIGHT = tuple(MIRROR[i] for i in LEFT)


def flip(x: Tensor) -> Tensor:
    """Mirror image, left for right: x is negated, the sides change their names, all else stays.

    Takes keypoints in normalised screen coordinates (x = 0 in the middle of the image) with or without
    confidence, and poses in camera coordinates, (..., 17, 2 or 3); and :data:`CANONICAL` keypoints, (..., 22, c).
    Where the principal point is the image's middle, flipping and projecting commute.

    Raises:
        BadInput: another number of joints or channels.
    """
    canonical = x.ndim >= 2 and x.shape[-2] == len(CANONICAL)
    if not canonical:
        _check(x, len(JOINTS), "flip")
    # views and no index list: an index would be copied to the device, which a CUDA graph cannot capture
    swapped = torch.stack([x[..., i, :] for i in (CANONICAL_MIRROR if canonical else MIRROR)], dim=-2)
    return torch.cat([-swapped[..., :1], swapped[..., 1:]], dim=-1)


def bone_lengths(pose: Tensor) -> Tensor:
    """Length of each of :data:`BONES` in the pose's unit: (..., 17, 3) -> (..., 16).

    Raises:
        BadInput: another number of joints or channels.
    """
    _check(pose, len(JOINTS), "bone_lengths")
    return torch.stack([pose[..., joint, :] - pose[..., parent, :] for parent, joint in BONES], dim=-2).norm(dim=-1)


@dataclass(frozen=True)
class Layout:
    """An order of keypoints and how the 17 joints come of it.

    A joint takes the keypoint of its own name, or what :attr:`sources` says: the mean of the keypoints named.
    A canonical keypoint (:data:`CANONICAL`) takes the keypoint of its own name, or the one that :attr:`same_as` says
    is the same place of the body; what a layout has no name for it does not show.
    """

    name: str
    joints: tuple[str, ...]
    sources: dict[str, tuple[str, ...]]
    same_as: dict[str, str] = field(default_factory=dict)

    def rule(self, joint: str) -> tuple[str, ...]:
        """The keypoints whose mean is ``joint``."""
        return self.sources.get(joint, (joint,))


# The nose and the eyes are the field's stand-ins (MotionBERT) for Neck/Nose and Head where a layout has no
# top of the head; Human3.6M's own joints lie behind and above them.
_FACE = {"Neck/Nose": ("Nose",), "Head": ("LEye", "REye"), "RFoot": ("RAnkle",), "LFoot": ("LAnkle",)}

H36M17 = Layout("Human3.6M-17", JOINTS, {}, {"LAnkle": "LFoot", "RAnkle": "RFoot"})

COCO17 = Layout(
    "COCO-17",
    (
        *("Nose", "LEye", "REye", "LEar", "REar", "LShoulder", "RShoulder", "LElbow", "RElbow", "LWrist", "RWrist"),
        *("LHip", "RHip", "LKnee", "RKnee", "LAnkle", "RAnkle"),
    ),
    _FACE
    | {
        "Hip": ("LHip", "RHip"),
        "Spine": ("LHip", "RHip", "LShoulder", "RShoulder"),
        "Thorax": ("LShoulder", "RShoulder"),
    },
)
"""COCO's keypoints, also AlphaPose's where it runs a COCO model."""

BODY_25 = Layout(
    "OpenPose BODY_25",
    (
        *("Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist", "MidHip"),
        *("RHip", "RKnee", "RAnkle", "LHip", "LKnee", "LAnkle", "REye", "LEye", "REar", "LEar"),
        *("LBigToe", "LSmallToe", "LHeel", "RBigToe", "RSmallToe", "RHeel"),
    ),
    _FACE | {"Hip": ("MidHip",), "Spine": ("MidHip", "Neck"), "Thorax": ("Neck",)},
    {"Hip": "MidHip", "Thorax": "Neck"},
)

HALPE26 = Layout(
    "Halpe-26",
    (
        *COCO17.joints,
        *("Head", "Neck", "Hip", "LBigToe", "RBigToe", "LSmallToe", "RSmallToe", "LHeel", "RHeel"),
    ),
    _FACE | {"Head": ("Head",), "Spine": ("Hip", "Neck"), "Thorax": ("Neck",)},
    {"Thorax": "Neck"},
)
"""Halpe's body, AlphaPose's default; the first 26 keypoints of Halpe-136 are the same."""

MEDIAPIPE33 = Layout(
    "MediaPipe-33",
    (
        *("Nose", "LEyeInner", "LEye", "LEyeOuter", "REyeInner", "REye", "REyeOuter", "LEar", "REar"),
        *("LMouth", "RMouth", "LShoulder", "RShoulder", "LElbow", "RElbow", "LWrist", "RWrist"),
        *("LPinky", "RPinky", "LIndex", "RIndex", "LThumb", "RThumb", "LHip", "RHip", "LKnee", "RKnee"),
        *("LAnkle", "RAnkle", "LHeel", "RHeel", "LFootIndex", "RFootIndex"),
    ),
    COCO17.sources,
)
"""MediaPipe Pose's landmarks (BlazePose)."""

OPENPOSE18 = Layout(
    "OpenPose COCO-18",
    (
        *("Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist"),
        *("RHip", "RKnee", "RAnkle", "LHip", "LKnee", "LAnkle", "REye", "LEye", "REar", "LEar"),
    ),
    _FACE | {"Hip": ("LHip", "RHip"), "Spine": ("LHip", "RHip", "Neck", "Neck"), "Thorax": ("Neck",)},
    {"Thorax": "Neck"},
)
"""OpenPose's COCO model, and what AlphaPose writes as ``cmu`` and ``open``."""

POSETRACK17 = Layout(
    "PoseTrack-17",
    ("Nose", "HeadBottom", "Head", *COCO17.joints[3:]),
    COCO17.sources | {"Head": ("Head",)},
)
"""COCO's body with the bottom and the top of the head in place of the eyes (PoseTrack 2018)."""

COCO_WHOLEBODY = Layout(
    "COCO-WholeBody",
    (*COCO17.joints, "LBigToe", "LSmallToe", "LHeel", "RBigToe", "RSmallToe", "RHeel"),
    COCO17.sources,
)
"""Its body and feet: the first 23 of 133 keypoints; face and hands follow."""

LAYOUTS = (H36M17, COCO17, BODY_25, HALPE26, MEDIAPIPE33, OPENPOSE18, POSETRACK17, COCO_WHOLEBODY)

CANONICAL = (*COCO17.joints, "Hip", "Spine", "Thorax", "Neck/Nose", "Head")
"""The 22 keypoints that a lifter for everyone reads: COCO's 17, and the five of Human3.6M-17 that COCO lacks.

Every layout gives those of them that it has, by name, and none is made up from others: what is not given has confidence
0.  Two points of one name are one place: COCO's ankles are Human3.6M's feet, OpenPose's and Halpe's Neck is Human3.6M's
Thorax, the base of the neck between the shoulders; COCO's nose is the face's and not Human3.6M's Neck/Nose."""

CANONICAL_MIRROR = mirror(CANONICAL)


def to_h36m17(keypoints: Tensor, layout: Layout) -> Tensor:
    """Keypoints of a layout as the 17 joints, by :meth:`Layout.rule`: (..., j, 2 or 3) -> (..., 17, 2 or 3).

    A third channel is confidence: a joint's is the least of its sources', so one made of a missing keypoint
    (confidence 0, and a place that means nothing) has confidence 0 itself.  A joint whose sources the layout does not
    all have is at NaN, with confidence 0.

    Raises:
        BadInput: another number of joints or channels than the layout's.
    """
    _check(keypoints, len(layout.joints), layout.name)
    nowhere = torch.full_like(keypoints[..., 0, :], torch.nan)
    nowhere[..., 2:] = 0.0
    joints = []
    for joint in JOINTS:
        if not set(layout.rule(joint)) <= set(layout.joints):
            joints.append(nowhere)
            continue
        sources = torch.stack([keypoints[..., layout.joints.index(s), :] for s in layout.rule(joint)], dim=-2)
        joints.append(torch.cat([sources[..., :2].mean(-2), sources[..., 2:].amin(-2)], dim=-1))
    return torch.stack(joints, dim=-2)


def to_canonical(keypoints: Tensor, layout: Layout) -> Tensor:
    """Keypoints of a layout as the :data:`CANONICAL` ones: (..., j, 2 or 3) -> (..., 22, 3).

    The third channel is confidence, 1 where the layout's keypoints come without.  A keypoint that the layout has not is
    (0, 0, 0); one whose confidence is 0 or whose place is not finite becomes that too.

    Raises:
        BadInput: another number of joints or channels than the layout's.
    """
    _check(keypoints, len(layout.joints), layout.name)
    if keypoints.shape[-1] == 2:
        keypoints = torch.cat([keypoints, torch.ones_like(keypoints[..., :1])], dim=-1)
    seen = keypoints.isfinite().all(-1, keepdim=True) & (keypoints[..., 2:] > 0)
    keypoints = torch.where(seen, keypoints, 0.0)
    names = [layout.same_as.get(name, name) for name in CANONICAL]
    unseen = torch.zeros_like(keypoints[..., 0, :])
    points = [keypoints[..., layout.joints.index(n), :] if n in layout.joints else unseen for n in names]
    return torch.stack(points, dim=-2)


def _check(x: Tensor, joints: int, name: str) -> None:
    if x.ndim < 2 or x.shape[-2] != joints or x.shape[-1] not in (2, 3):
        raise BadInput(
            f"{name}: expected {joints} joints of 2 or 3 channels, (..., {joints}, 2 or 3), got {tuple(x.shape)}; "
            "check the keypoint layout"
        )
