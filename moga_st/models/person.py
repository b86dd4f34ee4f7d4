"""Lifts one person's keypoints, as any detector names them and any camera sees them, to poses in camera space.

A lifter that reads places in the image has to learn every place, size and tilt at which a person can be seen.  This one
turns the camera towards the person first: keypoints are rays (normalised image coordinates), all rays of a window are
turned together so that their mean is the optical axis, and the spread of the body about its mean is the unit of length.
What is left is the pose, and how strong perspective is, which the spread tells.  Poses and the root's path are turned
back at the end, so the same person is the same input wherever it stands.

Keypoints of confidence 0 are unseen: their coordinates are never read.  Face points, of which the 17 joints of
Human3.6M have none, are read by the two joints of the head.

Shape legend: ``b`` windows, ``t`` frames, ``p`` frames a position of the grid, ``n`` = t / p positions, ``k`` the 22
keypoints of :data:`moga_st.data.pose.skeleton.CANONICAL`, ``j`` the 17 joints of Human3.6M, ``c`` channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from moga_st.config import ModelConfig
from moga_st.data.pose.skeleton import CANONICAL, JOINTS
from moga_st.errors import BadInput
from moga_st.models.lifter import HIP, JointGrid, fill_up
from moga_st.spec import InputSpec, agreed

FACE = ("Nose", "LEye", "REye", "LEar", "REar")
KEYPOINTS = len(CANONICAL)
CHANNELS = ("x", "y", "confidence", "seconds")
_KEYPOINT_OF = {"LFoot": "LAnkle", "RFoot": "RAnkle"}
_SPREAD_M = 0.4  # root mean square distance of keypoints from their mean in a standing body: the scale depth starts at
_PER_KEYPOINT, _PER_FRAME = 5, 7


@dataclass(frozen=True)
class PersonLifterConfig(ModelConfig, kind="person_lifter"):
    """The defaults are XS."""

    frames: int = 27
    """Frames of a window; any other length runs too, this one is trained."""
    patch: int = 3
    """Frames that share a position of the grid; divides `frames` (1 for a single frame)."""
    width: int = 96
    """Channels of the grid."""
    depth: int = 7
    """Moga blocks."""
    ffn_ratio: float = 4.0
    """Hidden width of the channel-aggregation FFN over `width`."""
    drop_path: float = 0.0
    """Drop-path rate of the last block; it rises linearly from 0."""
    heads: int = 4
    """Heads of the attention over joints; must divide `width`."""
    last: int | None = None
    """Give the poses of so many of the window's last frames only, for live use: `lift` shows such a lifter a window
    that ends with each frame, and takes the last pose. Left out, of all frames."""

    @property
    def example_shape(self) -> tuple[int, ...]:
        return (self.frames, KEYPOINTS, len(CHANNELS))

    def fit(self, spec: InputSpec) -> PersonLifterConfig:
        if len(spec.shape) != 3 or spec.shape[1:] != (KEYPOINTS, len(CHANNELS)):
            raise BadInput(
                f"a person lifter takes keypoints (t, {KEYPOINTS}, {len(CHANNELS)}); this data has inputs of shape "
                f"{spec.shape}"
            )
        agreed("frames", self.frames, spec.shape[0], 27)
        given = spec.target[0] if spec.target and spec.target[0] != spec.shape[0] else None
        return self if given is None else replace(self, last=agreed("last", self.last, given, given))

    def build(self) -> PersonLifter:
        return PersonLifter(self)


class Sight(NamedTuple):
    """Keypoints as seen by the camera turned towards the person."""

    rotation: Tensor  # (b, 3, 3) camera -> turned camera
    mean: Tensor  # (b, t, 2) of a frame's keypoints, turned rays
    spread: Tensor  # (b, 1, 1) of the keypoints about their frame's mean, turned rays
    keypoints: Tensor  # (b, t, k, 5) in units of the spread: place, place about the frame's mean, confidence
    frame: Tensor  # (b, t, 7) mean over spread, time, log of interval, log of spread, and where the person was


def sight(keypoints: Tensor) -> Sight:
    """Turn the camera towards the person: (b, t, k, 4) -> :class:`Sight`.

    The turned camera has no roll against the first: its x axis stays in the first one's x-z plane.
    """
    xy, confidence, seconds = keypoints[..., :2], keypoints[..., 2:3], keypoints[:, :, 0, 3:]
    seen = (confidence > 0).to(xy)
    xy = torch.where(seen > 0, xy, 0.0)
    total = seen.sum((1, 2)).clamp(min=1)  # (b, 1)
    centre = xy.sum((1, 2)) / total
    forward = nn.functional.normalize(nn.functional.pad(centre, (0, 1), value=1.0), dim=-1)
    x, _, z = forward.unbind(-1)
    right = nn.functional.normalize(torch.stack([z, torch.zeros_like(z), -x], -1), dim=-1)
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward], 1)
    turned = (rotation[:, None, None] * nn.functional.pad(xy, (0, 1), value=1.0)[..., None, :]).sum(-1)
    rays = turned[..., :2] / turned[..., 2:].clamp(min=0.1)  # nothing is seen at more than 84 degrees
    mean = (rays * seen).sum(2) / seen.sum(2).clamp(min=1)
    about = rays - mean[:, :, None]
    spread = (about.square().sum(-1, keepdim=True) * seen).sum((1, 2)) / total
    spread = spread.sqrt().clamp(min=1e-3)[:, None]  # (b, 1, 1)
    points = torch.cat([rays / spread[..., None], about / spread[..., None]], -1) * seen
    interval = (seconds[:, -1:] - seconds[:, :1]) / max(1, seconds.shape[1] - 1)
    window = torch.cat([interval.clamp(min=1e-3).log() + 3.5, spread.log() + 2, centre[:, None]], -1)
    seconds = seconds - seconds.mean(1, keepdim=True)
    frame = torch.cat([mean / spread, seconds, window.expand(-1, seconds.shape[1], -1)], -1)
    return Sight(rotation, mean, spread, torch.cat([points, confidence], -1), frame)


class PersonLifter(JointGrid):
    """Maps keypoints (b, t, 22, 4) to poses (b, t, 17, 3) in camera space, metres: x right, y down, z forward, the
    camera at the origin.  A pose less its Hip is root-relative; the Hip is the root's path.  With ``last`` in the
    config it gives so many last frames only.

    The channels are normalised image coordinates ``x = (u - cu) / f`` and y (u and the principal point cu in pixels,
    f the focal length in pixels), confidence, 0 for a keypoint that is not seen, and the frame's time in seconds.

    Raises:
        BadInput: the input has another shape, or the config's numbers do not fit each other.
    """

    body: Tensor
    face: Tensor
    head_place: Tensor

    def __init__(self, config: PersonLifterConfig):
        self.check("PersonLifter", config.width, config.patch, config.heads, config.frames)
        if config.last is not None and not 1 <= config.last <= config.frames:
            raise BadInput(f"PersonLifter last: expected 1 to the {config.frames} frames, got {config.last}")
        embed = nn.Conv2d((_PER_KEYPOINT + _PER_FRAME) * config.patch, config.width, 1)
        size = (config.width, config.depth, config.patch)
        super().__init__(embed, *size, config.ffn_ratio, config.drop_path, config.heads)
        self.config = config
        self.embed_face = nn.Conv2d(len(FACE) * _PER_KEYPOINT * config.patch, 2 * config.width, 1)
        self.head = nn.Conv2d(config.width, 3, 1)
        self.root = nn.Conv2d(config.width, 3, 1)
        body = [CANONICAL.index(_KEYPOINT_OF.get(JOINTS[i], JOINTS[i])) for i in self.order.tolist()]
        self.register_buffer("body", torch.tensor(body), persistent=False)
        self.register_buffer("face", torch.tensor([CANONICAL.index(name) for name in FACE]), persistent=False)
        head = [[float(JOINTS[i] == name) for i in self.order.tolist()] for name in ("Neck/Nose", "Head")]
        self.register_buffer("head_place", torch.tensor(head), persistent=False)

    def forward(self, keypoints: Tensor) -> Tensor:
        if keypoints.ndim != 4 or keypoints.shape[2:] != (KEYPOINTS, len(CHANNELS)):
            raise BadInput(
                f"PersonLifter input: expected keypoints (b, t, {KEYPOINTS}, {len(CHANNELS)}), "
                f"got {tuple(keypoints.shape)}"
            )
        t, patch = keypoints.shape[1], self.patch
        seen = sight(fill_up(keypoints, patch).float())
        points = seen.keypoints.index_select(2, self.body)
        x = torch.cat([points, seen.frame[:, :, None].expand(-1, -1, points.shape[2], -1)], -1)
        x = self.embed(rearrange(x, "b (n p) j c -> b (p c) n j", p=patch))
        face = rearrange(seen.keypoints.index_select(2, self.face), "b (n p) k c -> b (p k c) n 1", p=patch)
        face = rearrange(self.embed_face(face), "b (two c) n 1 -> b two c n 1", two=2)
        x = self.grid(x + (face * self.head_place[:, None, None]).sum(1))
        first = 0 if self.config.last is None else max(0, t - self.config.last)
        x = self.norm(self.frames(x)[:, :, first:t]).float()
        pose = rearrange(self.head(x), "b c t j -> b t j c").float().index_select(2, self.inverse)
        hip = self.root(x.mean(3, keepdim=True)).float().squeeze(3).mT  # (b, t, 3): place about the mean, log of depth
        depth = (3 * torch.tanh(hip[..., 2:] / 3)).exp() * _SPREAD_M / seen.spread
        root = torch.cat([(seen.mean[:, first:t] + hip[..., :2] * seen.spread) * depth, depth], -1)
        turned = pose - pose[:, :, HIP : HIP + 1] + root[:, :, None]
        # sums of products and no matrix product, which a GPU may be allowed to round to ten bits (TF32)
        return (turned[..., :, None] * seen.rotation[:, None, None]).sum(-2)
