"""Lifts 2D keypoints to 3D poses with Moga blocks on the grid of time x joints.

The joint axis is a body, not a line.  Joints are laid along it limb after limb (:data:`BODY_ORDER`), so that
the block's kernels see neighbours of the body, and before every block attention over the joints of a frame
reaches the rest of it.  What else was tried is in ``experiments/README.md``.

Shape legend: ``b`` clips, ``t`` frames, ``j`` joints (17), ``c`` channels.

    keypoints (b, t, j, 2 or 3)  ->  grid (b, c, t, j)  ->  depth x [attention, Moga block]  ->  poses (b, t', j, 3)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from moga_st.config import BadInput, ModelConfig
from moga_st.models.moga import MogaBlock, init_conv

JOINTS = 17
# Human3.6M-17 joints limb after limb: right foot to hip, hip, left hip to foot, spine, right wrist to shoulder,
# thorax, left shoulder to wrist, neck, head
BODY_ORDER = (3, 2, 1, 0, 4, 5, 6, 7, 16, 15, 14, 8, 11, 12, 13, 9, 10)


@dataclass(frozen=True)
class LifterConfig(ModelConfig):
    """The defaults are XS; :data:`SIZES` has the others."""

    frames: int = 27
    """Frames of a window; any other length runs too, this one is trained."""
    channels: int = 2
    """2 for x and y, 3 with the detector's confidence."""
    width: int = 96
    """Channels of the grid."""
    depth: int = 8
    """Moga blocks."""
    ffn_ratio: float = 4.0
    """Hidden width of the channel-aggregation FFN over `width`."""
    drop_path: float = 0.0
    """Drop-path rate of the last block; it rises linearly from 0."""
    heads: int = 4
    """Heads of the attention over joints; must divide `width`."""
    centre_only: bool = False
    """Give the pose of the centre frame only, (b, 1, 17, 3), as VideoPose3D does."""

    @property
    def example_shape(self) -> tuple[int, ...]:
        return (self.frames, JOINTS, self.channels)

    def build(self) -> Lifter:
        return Lifter(self)


SIZES = {
    "xs": LifterConfig(),
    "s": LifterConfig(width=128, depth=10),
    "b": LifterConfig(width=176, depth=12),
}


class JointAttention(nn.Module):
    """x + proj(attention(BN(x))), over the joints of each frame: (b, c, t, j) -> (b, c, t, j)."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.BatchNorm2d(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)
        self.apply(init_conv)
        nn.init.zeros_(self.proj.weight)  # like the block after it, it starts as the identity

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(self.norm(x)), "b (n h d) t j -> n (b t) h j d", n=3, h=self.heads)
        out = nn.functional.scaled_dot_product_attention(q, k, v)
        return x + self.proj(rearrange(out, "(b t) h j d -> b (h d) t j", t=x.shape[2]))


class Lifter(nn.Module):
    """Maps keypoints (b, t, 17, channels) in normalised screen coordinates to poses (b, t, 17, 3), or to the
    centre frame's (b, 1, 17, 3).

    Raises:
        BadInput: the input has another shape, or the config's numbers do not fit each other.
    """

    def __init__(self, config: LifterConfig):
        super().__init__()
        if config.frames < 1 or config.frames % 2 == 0:
            raise BadInput(f"Lifter frames: expected an odd number, which has a centre, got {config.frames}")
        if config.channels not in (2, 3):
            raise BadInput(f"Lifter channels: expected 2 (x, y) or 3 (with confidence), got {config.channels}")
        if config.width <= 0 or config.width % 8:
            raise BadInput(f"Lifter width: expected a positive multiple of 8, got {config.width}")
        if config.heads < 1 or config.width % config.heads:
            raise BadInput(f"Lifter heads: {config.heads} does not divide the width, {config.width}")
        self.config = config
        self.embed = nn.Conv2d(config.channels, config.width, 1)
        self.joint = nn.Parameter(torch.zeros(1, config.width, 1, JOINTS))
        nn.init.trunc_normal_(self.joint, std=0.02)
        self.layers = nn.Sequential()
        for i in range(config.depth):
            rate = config.drop_path * i / max(1, config.depth - 1)
            attention = JointAttention(config.width, config.heads)
            self.layers.append(nn.Sequential(attention, MogaBlock(config.width, config.ffn_ratio, rate)))
        self.norm = nn.BatchNorm2d(config.width)
        self.head = nn.Conv2d(config.width, 3, 1)
        # buffers, since an index list would be copied to the device at every call
        self.register_buffer("order", torch.tensor(BODY_ORDER), persistent=False)
        inverse = sorted(range(JOINTS), key=BODY_ORDER.__getitem__)
        self.register_buffer("inverse", torch.tensor(inverse), persistent=False)

    def features(self, keypoints: Tensor) -> Tensor:
        """What the head reads: (b, width, t, 17), the joints as they lie on the grid (``order``); t is 1 if
        ``centre_only``."""
        if keypoints.ndim != 4 or keypoints.shape[2:] != (JOINTS, self.config.channels):
            raise BadInput(
                f"Lifter input: expected keypoints (b, t, {JOINTS}, {self.config.channels}), "
                f"got {tuple(keypoints.shape)}"
            )
        if self.training and keypoints.shape[1] != self.config.frames:
            raise BadInput(
                f"Lifter input: {keypoints.shape[1]} frames, but model.frames is {self.config.frames}; "
                "train on windows of task.frames = model.frames"
            )
        order: Tensor = self.order  # type: ignore[assignment]
        x = rearrange(keypoints.index_select(2, order), "b t j c -> b c t j")
        x = self.layers(self.embed(x) + self.joint)
        if self.config.centre_only:
            middle = x.shape[2] // 2
            x = x[:, :, middle : middle + 1]
        return self.norm(x)

    def forward(self, keypoints: Tensor) -> Tensor:
        inverse: Tensor = self.inverse  # type: ignore[assignment]
        return rearrange(self.head(self.features(keypoints)), "b c t j -> b t j c").index_select(2, inverse)
