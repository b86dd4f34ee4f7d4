"""Lifts 2D keypoints to 3D poses with Moga blocks on the grid of time x joints.

A few frames that follow each other share one position of the grid (``patch``): at 50 frames a second they differ
little, and the grid is that much smaller.  The joint axis is a body, not a line.  Joints are laid along it limb after
limb (:data:`BODY_ORDER`), so that the block's kernels see neighbours of the body, and before every block attention
over the joints of a moment reaches the rest of it.  What else was tried is in ``experiments/README.md``.

Shape legend: ``b`` clips, ``t`` frames, ``p`` frames a position, ``n`` = t / p positions, ``j`` joints (17),
``c`` channels.

    keypoints (b, t, j, 2 or 3)  ->  grid (b, c, n, j)  ->  depth x [attention, Moga block, unit RMS]
        ->  unfolded and blended in time, (b, c, t, j)  ->  poses (b, t', j, 3)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from moga_st.config import ModelConfig
from moga_st.errors import BadInput
from moga_st.models.moga import MogaBlock, init_conv
from moga_st.spec import InputSpec, agreed

JOINT_COUNT = 17
HIP = 0
# Human3.6M-17 joints limb after limb: right foot to hip, hip, left hip to foot, spine, right wrist to shoulder,
# thorax, left shoulder to wrist, neck, head
BODY_ORDER = (3, 2, 1, 0, 4, 5, 6, 7, 16, 15, 14, 8, 11, 12, 13, 9, 10)


@dataclass(frozen=True)
class LifterConfig(ModelConfig, kind="lifter"):
    """The defaults are XS; :data:`SIZES` has the others."""

    frames: int = 27
    """Frames of a window; any other length runs too, this one is trained."""
    channels: int = 2
    """2 for x and y, 3 with the detector's confidence."""
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
    centre_only: bool = False
    """Give the pose of the centre frame only, (b, 1, 17, 3), as VideoPose3D does."""

    @property
    def example_shape(self) -> tuple[int, ...]:
        return (self.frames, JOINT_COUNT, self.channels)

    def fit(self, spec: InputSpec) -> LifterConfig:
        if len(spec.shape) != 3 or spec.shape[1] != JOINT_COUNT:
            raise BadInput(
                f"a lifter takes keypoints (t, {JOINT_COUNT}, c); this data has inputs of shape {spec.shape}"
            )
        agreed("frames", self.frames, spec.shape[0], 27)
        agreed("channels", self.channels, spec.shape[2], 2)
        return self

    def build(self) -> Lifter:
        return Lifter(self)


SIZES = {
    "xs": LifterConfig(),
    "s": LifterConfig(width=128, depth=10),
    "b": LifterConfig(width=176, depth=12),
}


class JointAttention(nn.Module):
    """x + proj(attention(BN(x))), over the joints of each moment: (b, c, n, j) -> (b, c, n, j)."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.BatchNorm2d(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)
        self.apply(init_conv)
        nn.init.zeros_(self.proj.weight)  # like the block after it, it starts as the identity

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(self.norm(x)), "b (three h d) n j -> three (b n) h j d", three=3, h=self.heads)
        out = nn.functional.scaled_dot_product_attention(q, k, v)
        # laid out in memory as the product gave it, a moment's joint after the other, which is channels-last
        out = rearrange(out, "(b n) h j d -> b n j (h d)", n=x.shape[2]).movedim(3, 1)
        return x + self.proj(out)


class UnitRMS(nn.Module):
    """x over the root of its mean square over the channels: (b, c, n, j) -> (b, c, n, j).

    A Moga block multiplies its gate by its value, so its output can grow as the square of its input, and batch norms,
    fixed after training, do not hold that back: a keypoint far from where any was in training became a square of a
    square, block after block, up to infinity.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6)


class JointGrid(nn.Module):
    """The grid of time x joints that every lifter here is made of: what embeds its input, Moga blocks with attention
    over the joints, and the way back from positions to frames.

    Args:
        embed: keypoints of ``patch`` frames -> channels; the grid only carries it, so that it is initialised first.
        width: channels of the grid; a multiple of 8 and of ``heads``.

    Raises:
        BadInput: the numbers do not fit each other.
    """

    order: Tensor
    inverse: Tensor

    def __init__(
        self, embed: nn.Module, width: int, depth: int, patch: int, ffn_ratio: float, drop_path: float, heads: int
    ):
        super().__init__()
        self.patch = patch
        self.embed = embed
        self.grid = nn.Identity()  # the whole input on the grid goes through it, so that it can be asked for
        self.joint = nn.Parameter(torch.zeros(1, width, 1, JOINT_COUNT))
        nn.init.trunc_normal_(self.joint, std=0.02)
        self.layers = nn.Sequential()
        for i in range(depth):
            rate = drop_path * i / max(1, depth - 1)
            self.layers.append(
                nn.Sequential(JointAttention(width, heads), MogaBlock(width, ffn_ratio, rate), UnitRMS())
            )
        self.unfold = nn.Conv2d(width, width * patch, 1)
        init_conv(self.unfold)
        # it starts by giving the frames of a position one and the same value, and the blend between these is then
        # linear interpolation: motion is smooth until training finds what is not
        with torch.no_grad():
            first = self.unfold.weight[:width].clone()
            self.unfold.weight.view(patch, *first.shape).copy_(first)
        self.blend = nn.Conv2d(width, width, (3, 1), groups=width, bias=False)
        nn.init.constant_(self.blend.weight, 1 / 3)
        self.norm = nn.BatchNorm2d(width)
        # buffers, since an index list would be copied to the device at every call
        self.register_buffer("order", torch.tensor(BODY_ORDER), persistent=False)
        inverse = sorted(range(JOINT_COUNT), key=BODY_ORDER.__getitem__)
        self.register_buffer("inverse", torch.tensor(inverse), persistent=False)

    def frames(self, x: Tensor) -> Tensor:
        """Embedded positions (b, c, n, 17), the joints in :data:`BODY_ORDER` -> frames (b, c, n p, 17)."""
        x = rearrange(self.unfold(self.layers(x + self.joint)), "b (p c) n j -> b c (n p) j", p=self.patch)
        return self.blend(torch.cat([x[:, :, :1], x, x[:, :, -1:]], 2))

    @staticmethod
    def check(kind: str, width: int, patch: int, heads: int, frames: int) -> None:
        if frames < 1 or frames % 2 == 0:
            raise BadInput(f"{kind} frames: expected an odd number, which has a centre, got {frames}")
        if patch < 1 or frames % patch:
            raise BadInput(f"{kind} patch: {patch} does not divide the {frames} frames; 1 always does")
        if width <= 0 or width % 8:
            raise BadInput(f"{kind} width: expected a positive multiple of 8, got {width}")
        if heads < 1 or width % heads:
            raise BadInput(f"{kind} heads: {heads} does not divide the width, {width}")


class Lifter(JointGrid):
    """Maps keypoints (b, t, 17, channels) in normalised screen coordinates to poses (b, t, 17, 3), or to the
    centre frame's (b, 1, 17, 3).

    Raises:
        BadInput: the input has another shape, or the config's numbers do not fit each other.
    """

    def __init__(self, config: LifterConfig):
        self.check("Lifter", config.width, config.patch, config.heads, config.frames)
        if config.channels not in (2, 3):
            raise BadInput(f"Lifter channels: expected 2 (x, y) or 3 (with confidence), got {config.channels}")
        embed = nn.Conv2d((config.channels + 2) * config.patch, config.width, 1)
        size = (config.width, config.depth, config.patch)
        super().__init__(embed, *size, config.ffn_ratio, config.drop_path, config.heads)
        self.config = config
        self.head = nn.Conv2d(config.width, 3, 1)

    def features(self, keypoints: Tensor) -> Tensor:
        """What the head reads: (b, width, t, 17), the joints as they lie on the grid (``order``); t is 1 if
        ``centre_only``.  Frames that do not fill the last position are filled up with the last frame."""
        if keypoints.ndim != 4 or keypoints.shape[2:] != (JOINT_COUNT, self.config.channels):
            raise BadInput(
                f"Lifter input: expected keypoints (b, t, {JOINT_COUNT}, {self.config.channels}), "
                f"got {tuple(keypoints.shape)}"
            )
        t = keypoints.shape[1]
        if self.training and t != self.config.frames:
            raise BadInput(
                f"Lifter input: {t} frames, but model.frames is {self.config.frames}; "
                "train on windows of task.frames = model.frames"
            )
        keypoints = fill_up(keypoints, self.patch)
        # where a joint is in the image, and where it is on the body
        x = torch.cat([keypoints, keypoints[..., :2] - keypoints[:, :, HIP : HIP + 1, :2]], -1)
        x = self.embed(rearrange(x.index_select(2, self.order), "b (n p) j c -> b (p c) n j", p=self.patch))
        x = self.frames(self.grid(x))
        return self.norm(x[:, :, t // 2 : t // 2 + 1] if self.config.centre_only else x[:, :, :t])

    def forward(self, keypoints: Tensor) -> Tensor:
        return rearrange(self.head(self.features(keypoints)), "b c t j -> b t j c").index_select(2, self.inverse)


def fill_up(keypoints: Tensor, patch: int) -> Tensor:
    """Windows (b, t, ...) with the last frame repeated until ``patch`` divides their frames."""
    missing = -keypoints.shape[1] % patch
    if not missing:
        return keypoints
    return torch.cat([keypoints, keypoints[:, -1:].expand(-1, missing, *keypoints.shape[2:])], 1)
