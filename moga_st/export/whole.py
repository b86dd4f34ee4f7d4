"""Networks with all that is before and after them: from what a person has to what he wants.

Each kind of network has one :class:`Whole`, which says what goes in and comes out, wraps a network so, and goes the way
back, so that what runs a written file can stand where a network is expected.  What takes several calls stays outside:
tiles of large frames, windows of long clips and their blending.

Shape legend: ``b`` batch, ``t`` frames, ``h w`` size, ``c`` channels, ``k`` keypoints, ``n`` classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from moga_st.config import Config
from moga_st.data.pose.camera import denormalise_screen, normalise_screen
from moga_st.data.pose.skeleton import CANONICAL, JOINTS, flip
from moga_st.errors import BadInput

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LARGEST_SIDE = 4096  # of a frame, in pixels
_IMAGE_PX = 1000.0  # side of the image in which the way back puts keypoints


class Value(NamedTuple):
    """One input or output."""

    dtype: str
    shape: tuple[int, ...]
    """Without batch."""
    meaning: str


@dataclass(frozen=True)
class Whole(Config, rooms=("moga_st.export",)):
    """What a network is with its ends; a new kind of network is one more subclass."""

    mirrored: ClassVar[bool] = False
    """Whether predictions are averaged with those of the mirror image inside."""

    @property
    def tolerance(self) -> tuple[float, str]:
        """The most that two ways to compute the same may differ by, and its unit."""
        raise NotImplementedError

    def inputs(self) -> dict[str, Value]:
        raise NotImplementedError

    def output(self) -> tuple[str, Value]:
        raise NotImplementedError

    def wrap(self, net: nn.Module) -> nn.Module:
        """A module that takes :meth:`inputs`, each with a batch, and gives the output."""
        raise NotImplementedError

    def given(self, x: Tensor) -> tuple[Tensor, ...]:
        """The inputs that a network's own input ``x`` came from, as near as they can hold it."""
        raise NotImplementedError

    def back(self, y: Tensor) -> Tensor:
        """The output as the network itself would have given it, as near as it holds that."""
        return y

    def sample(self, batch: int) -> tuple[Tensor, ...]:
        """Inputs to time with, drawn at random: bytes, and places in the middle of an image of 1000 pixels."""
        draw = torch.Generator().manual_seed(0)
        made = []
        for name, value in self.inputs().items():
            shape = (batch, *value.shape)
            if value.dtype == "uint8":
                made.append(torch.randint(0, 256, shape, dtype=torch.uint8, generator=draw))
            elif name == "keypoints_px":
                made.append(300 + 400 * torch.rand(shape, generator=draw))
            else:
                known = {"size_px": _IMAGE_PX, "focal_px": _IMAGE_PX, "fps": 50.0}
                made.append(torch.full(shape, known[name]) if name in known else torch.randn(shape, generator=draw))
        return tuple(made)

    def fitted(self, x: Tensor) -> Tensor:
        """Inputs of the network itself, made ones of this whole's size."""
        return x

    def difference(self, a: Tensor, b: Tensor) -> float:
        """The largest difference of two outputs, in the unit of :attr:`tolerance`."""
        return float((a.double() - b.double()).abs().max())

    def conventions(self) -> dict[str, str]:
        """What goes in and out and stays outside, for people."""
        values = {**self.inputs(), self.output()[0]: self.output()[1]}
        return {name: f"{v.dtype} (b, {', '.join(map(str, v.shape))}): {v.meaning}" for name, v in values.items()}


@dataclass(frozen=True)
class WholeVideo(Whole, kind="whole_video"):
    """Frames to frames: bytes where they are images, the data's unit otherwise."""

    frames_in: int
    frames_out: int
    height: int
    width: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    data_unit: str
    """Empty for images."""
    placed: bool = False
    """Whether it holds what is usual at each place, so that frames do not go through it in tiles."""

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            if not 1 <= getattr(self, name) <= LARGEST_SIDE:
                raise BadInput(f"frame {name}: expected 1 to {LARGEST_SIDE}, got {getattr(self, name)}")
        if self.frames_out < 1:
            raise BadInput(f"frames: expected at least 1, got {self.frames_out}")

    @property
    def tolerance(self) -> tuple[float, str]:
        # the last step rounds to a level, so that a value on the edge between two can go to either
        return (1.0, "levels of 255") if self._images else (1e-3, "standard deviations of the data")

    def inputs(self) -> dict[str, Value]:
        tiles = "no tiles of larger ones" if self.placed else "larger ones go through in tiles, outside"
        what = f"frames of this one size, oldest first, channels last; {tiles}"
        return {"frames": Value(self._dtype, (self.frames_in, *self._frame), f"{what}{self._in_unit}")}

    def output(self) -> tuple[str, Value]:
        return "future", Value(self._dtype, (self.frames_out, *self._frame), f"the frames that follow{self._in_unit}")

    def wrap(self, net: nn.Module) -> nn.Module:
        return _Video(self, net)

    def given(self, x: Tensor) -> tuple[Tensor, ...]:
        frames = x.movedim(2, -1)
        return (to_bytes(frames) if self._images else frames * self._scale[1] + self._scale[0],)

    def back(self, y: Tensor) -> Tensor:
        frames = y.float() / 255 if self._images else (y - self._scale[0]) / self._scale[1]
        return frames.movedim(-1, 2)

    def fitted(self, x: Tensor) -> Tensor:
        if x.shape[-2:] == (self.height, self.width):
            return x
        frames = nn.functional.interpolate(x.flatten(0, 1), (self.height, self.width), mode="bilinear", antialias=True)
        return frames.unflatten(0, x.shape[:2])

    def difference(self, a: Tensor, b: Tensor) -> float:
        off = (a.double() - b.double()).abs()
        return float((off if self._images else off / self._scale[1]).max())

    @property
    def _images(self) -> bool:
        return not self.data_unit

    @property
    def _dtype(self) -> str:
        return "uint8" if self._images else "float32"

    @property
    def _frame(self) -> tuple[int, int, int]:
        return self.height, self.width, self.channels

    @property
    def _in_unit(self) -> str:
        return f"; {self.data_unit}" if self.data_unit else ""

    @property
    def _scale(self) -> tuple[Tensor, Tensor]:
        return torch.tensor(self.mean), torch.tensor(self.std)


class _Video(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self, whole: WholeVideo, net: nn.Module):
        super().__init__()
        self.net, self.images, self.frames_out = net, not whole.data_unit, whole.frames_out
        mean, std = (torch.tensor(v) for v in (whole.mean, whole.std))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        x = frames.float() / 255 if self.images else (frames - self.mean) / self.std
        y = self.net(x.movedim(-1, 2), self.frames_out).movedim(2, -1)
        return to_bytes(y) if self.images else y * self.std + self.mean


class OnAnomalies(nn.Module):
    """A network that sees and predicts how far values are from what is usual (c, h, w), as one of the values."""

    usual: Tensor

    def __init__(self, net: nn.Module, usual: Tensor):
        super().__init__()
        self.net = net
        self.register_buffer("usual", usual, persistent=False)

    def forward(self, frames: Tensor, frames_out: int | None = None) -> Tensor:
        return self.net(frames - self.usual, frames_out) + self.usual


def to_bytes(frames: Tensor) -> Tensor:
    """Values of [0, 1], clipped to it, as 0 to 255."""
    return (frames.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)


@dataclass(frozen=True)
class WholePose(Whole, kind="whole_pose"):
    """Keypoints of Human3.6M's 17 joints in pixels to poses about the hip, in metres."""

    frames: int
    channels: int
    centre_only: bool

    mirrored: ClassVar[bool] = True

    @property
    def tolerance(self) -> tuple[float, str]:
        return 1e-4, "m"

    def inputs(self) -> dict[str, Value]:
        third = ", confidence" if self.channels == 3 else ""
        joints = f"{', '.join(JOINTS)} of {_WINDOW}: pixels x, y{third}, every joint filled in"
        return {
            "keypoints_px": Value("float32", (self.frames, len(JOINTS), self.channels), joints),
            "size_px": Value("float32", (2,), "the image's width and height in pixels"),
        }

    def output(self) -> tuple[str, Value]:
        frames = 1 if self.centre_only else self.frames
        return "poses_m", Value("float32", (frames, len(JOINTS), 3), f"{_METRES}, relative to the hip")

    def wrap(self, net: nn.Module) -> nn.Module:
        return _Pose(net)

    def given(self, x: Tensor) -> tuple[Tensor, ...]:
        size = torch.full((len(x), 2), _IMAGE_PX)
        return denormalise_screen(x, size), size


class _Pose(nn.Module):
    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, keypoints_px: Tensor, size_px: Tensor) -> Tensor:
        poses = _with_mirror_image(self.net, normalise_screen(keypoints_px, size_px))
        return poses - poses[:, :, :1]


@dataclass(frozen=True)
class WholePerson(Whole, kind="whole_person"):
    """A person's 22 canonical keypoints in pixels, as any detector names them, to poses in camera space, in metres."""

    frames: int
    frames_out: int
    """The window's last ones."""

    mirrored: ClassVar[bool] = True

    @property
    def tolerance(self) -> tuple[float, str]:
        return 1e-3, "m"  # looser than a pose about its hip: the root is metres away

    def inputs(self) -> dict[str, Value]:
        points = f"{', '.join(CANONICAL)} of {_WINDOW}: pixels x, y, confidence, which is 0 for what is not seen"
        return {
            "keypoints_px": Value("float32", (self.frames, len(CANONICAL), 3), points),
            "size_px": Value("float32", (2,), "the image's width and height in pixels"),
            "focal_px": Value("float32", (), "focal length in pixels; 0 where unknown, for the image's longer side"),
            "fps": Value("float32", (), "frames a second, at most 60"),
        }

    def output(self) -> tuple[str, Value]:
        return "poses_m", Value("float32", (self.frames_out, len(JOINTS), 3), f"{_METRES}, from the camera")

    def wrap(self, net: nn.Module) -> nn.Module:
        return _Person(net)

    def given(self, x: Tensor) -> tuple[Tensor, ...]:
        focal = torch.full((len(x),), _IMAGE_PX)
        places = torch.cat([x[..., :2] * _IMAGE_PX + _IMAGE_PX / 2, x[..., 2:3]], -1)
        seconds = x[:, -1, 0, 3] - x[:, 0, 0, 3]
        fps = (x.shape[1] - 1) / seconds if x.shape[1] > 1 else torch.ones(len(x))
        return places, focal[:, None].expand(-1, 2).contiguous(), focal, fps


class _Person(nn.Module):
    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, keypoints_px: Tensor, size_px: Tensor, focal_px: Tensor, fps: Tensor) -> Tensor:
        focal = torch.where(focal_px > 0, focal_px, size_px.amax(1))[:, None, None, None]
        xy = (keypoints_px[..., :2] - size_px[:, None, None] / 2) / focal
        confidence = keypoints_px[..., 2:]
        seconds = torch.arange(keypoints_px.shape[1], dtype=torch.float32)[:, None, None] / fps[:, None, None, None]
        seconds = seconds.expand(-1, -1, keypoints_px.shape[2], -1)
        rays = torch.cat([torch.where(confidence > 0, xy, 0.0), confidence, seconds], -1)
        return _with_mirror_image(self.net, rays)


def _with_mirror_image(net: nn.Module, x: Tensor) -> Tensor:
    """The mean of what a lifter makes of a window and, mirrored back, of its mirror image, as `lift` has it."""
    own, other = net(torch.cat([x, flip(x)])).unflatten(0, (2, -1)).unbind()
    return (own + flip(other)) / 2


_WINDOW = "one window, as long clips are cut into overlapping ones, outside"
_METRES = f"{', '.join(JOINTS)} in metres: x right, y down, z forward"


@dataclass(frozen=True)
class WholeImage(Whole, kind="whole_image"):
    """An image to the shares of its classes."""

    size: int
    channels: int
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: float
    """Side of the centre crop over the shorter side of the resized image, which is outside."""

    @property
    def tolerance(self) -> tuple[float, str]:
        return 1e-4, "of the shares' sum"

    def __post_init__(self) -> None:
        if not 1 <= self.size <= LARGEST_SIDE:
            raise BadInput(f"image side: expected 1 to {LARGEST_SIDE}, got {self.size}")
        if not 0 < self.crop <= 1:
            raise BadInput(f"image crop: expected a share of 1, got {self.crop}")

    def inputs(self) -> dict[str, Value]:
        whole = math.floor(self.size / self.crop)
        how = f"the middle of an image whose shorter side was resized (bicubic) to {whole} pixels, outside"
        return {"image": Value("uint8", (self.size, self.size, self.channels), how)}

    def output(self) -> tuple[str, Value]:
        return "scores", Value("float32", (self.classes,), "each class's share, which add up to 1")

    def wrap(self, net: nn.Module) -> nn.Module:
        return _Image(self, net)

    def given(self, x: Tensor) -> tuple[Tensor, ...]:
        mean, std = (torch.tensor(v) for v in (self.mean, self.std))
        return (to_bytes(x.movedim(1, -1) * std + mean),)

    def back(self, y: Tensor) -> Tensor:
        return y.clamp(min=1e-30).log()  # logits but for what their softmax does not see


class _Image(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self, whole: WholeImage, net: nn.Module):
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(whole.mean), persistent=False)
        self.register_buffer("std", torch.tensor(whole.std), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        x = (image.float() / 255 - self.mean) / self.std
        return self.net(x.movedim(-1, 1)).softmax(1)
