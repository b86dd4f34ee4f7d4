"""What is done to images before a network sees them.

Random crops, colours and erasing are timm's transforms, which draw from the process's own generators; they run in
processes of their own, seeded for every image, so that an image's look follows from (seed, its number) alone and the
training's own random numbers are left alone.

Shape legend: ``b c h w``; ``s`` side of the square.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from moga_st import dist
from moga_st.config import Config
from moga_st.data.draws import uniform
from moga_st.data.images import Part
from moga_st.errors import BadInput


@dataclass(frozen=True)
class AugmentConfig(Config, rooms=("moga_st.data",)):
    """What is done to training images."""


@dataclass(frozen=True)
class ShiftConfig(AugmentConfig, kind="shift"):
    """On the device, for sets of small images that fit in memory: moved by a few pixels, mirrored, and with a square
    erased (arXiv 1708.04552)."""

    pixels: int = 2
    """Furthest that an image moves each way; what comes in is black."""
    flip: bool = True
    """Mirror every second image."""
    erase: int = 0
    """Side in pixels of the square that is set to the mean; 0 for none."""


@dataclass(frozen=True)
class TimmAugmentConfig(AugmentConfig, kind="timm_augment"):
    """timm's training transforms: a random crop, mirrored, and what is named here.  Needs the extra `images`."""

    policy: str | None = "rand-m9-mstd0.5-inc1"
    """timm's auto_augment: RandAugment by its code, "3a" for DeiT III's 3-Augment (arXiv 2204.07118), null for none."""
    jitter: float = 0.0
    """Strength of brightness, contrast and colour jitter (timm leaves it out beside RandAugment)."""
    erase: float = 0.0
    """Probability of erasing a random part with noise."""
    smallest: float = 0.08
    """Smallest share of the image's area that a crop has."""


@dataclass(frozen=True)
class Look:
    """How images reach a network: size, crop and scale.  Plain values, which travel to other processes."""

    size: int
    """Side of the square that a network trains on."""
    test_size: int
    crop: float
    """Side of the centre crop over that of the whole shorter side, in evaluation."""
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def channels(self) -> int:
        return len(self.mean)


def evaluation(look: Look) -> Callable[[np.ndarray], Tensor]:
    """uint8 (h, w, c) -> the network's input (c, s, s): resized (bicubic) so that the centre crop of ``test_size``
    is ``crop`` of the shorter side, as the published scores have it."""
    from PIL import Image

    def apply(pixels: np.ndarray) -> Tensor:
        image = Image.fromarray(pixels if look.channels > 1 else pixels[..., 0])
        # timm rounds the side down
        whole = int(np.floor(look.test_size / look.crop))
        scale = whole / min(image.size)
        width, height = (max(whole, int(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (round((side - look.test_size) / 2.0) for side in (width, height))
        image = image.crop((left, top, left + look.test_size, top + look.test_size))
        return normalised(np.asarray(image), look)

    return apply


def normalised(pixels: np.ndarray, look: Look) -> Tensor:
    """uint8 (h, w, c) or (h, w) -> (value / 255 - mean) / std, (c, h, w) float32."""
    x = torch.from_numpy(np.array(pixels)).float().div_(255.0)
    x = x[..., None] if x.ndim == 2 else x
    return ((x - torch.tensor(look.mean)) / torch.tensor(look.std)).permute(2, 0, 1).contiguous()


class TimmAugment:
    """timm's transforms over a part's images, in processes that start at first use."""

    def __init__(self, part: Part, look: Look, config: TimmAugmentConfig, seed: int):
        self.part, self.look, self.config, self.seed = part, look, config, seed
        self._pool: ProcessPoolExecutor | None = None
        try:
            import timm  # noqa: F401
        except ImportError as error:
            raise BadInput("task.augment timm: timm is not installed; pip install 'moga-st[images]'") from error

    def __call__(self, numbers: np.ndarray, draws: np.ndarray) -> Tensor:
        """Images ``numbers`` (b,), each by its own number of ``draws`` (b,): (b, c, s, s) float32."""
        if self._pool is None:
            count = max(1, min(16, (os.cpu_count() or 1) // dist.world()))
            self._pool = ProcessPoolExecutor(
                count, multiprocessing.get_context("spawn"), _start, (self.part, self.look, self.config, self.seed)
            )
        pairs = list(zip(numbers.tolist(), draws.tolist(), strict=True))
        try:
            return torch.from_numpy(np.stack(list(self._pool.map(_augment, pairs, chunksize=8))))
        except BrokenProcessPool as error:
            raise BadInput(
                "the processes that augment images did not start or were killed; a script of your own that trains "
                'needs `if __name__ == "__main__":` around its call, and memory for every process'
            ) from error

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


_work: Any = None  # of a process of the pool


def _start(part: Part, look: Look, config: TimmAugmentConfig, seed: int) -> None:
    global _work
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _work = (part, look, transform(look, config), seed)


def _end_with_parent() -> None:
    """One that was killed ends nobody; without this its processes would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _augment(pair: tuple[int, int]) -> np.ndarray:
    part, look, apply, seed = _work
    return augmented(part.image(pair[0], look.channels), apply, seed, pair[1])


def transform(look: Look, config: TimmAugmentConfig) -> Any:
    """timm's transform of a PIL image into the network's input."""
    from timm.data.transforms_factory import create_transform

    return create_transform(
        (look.channels, look.size, look.size),
        is_training=True,
        scale=(config.smallest, 1.0),
        color_jitter=config.jitter,
        auto_augment=config.policy,
        interpolation="bicubic",
        re_prob=config.erase,
        re_mode="pixel",
        mean=look.mean,
        std=look.std,
    )


def augmented(pixels: np.ndarray, apply: Any, seed: int, draw: int) -> np.ndarray:
    """uint8 (h, w, c) -> (c, s, s) float32, as (seed, draw) has it.  It seeds the process's generators."""
    from PIL import Image

    number = int.from_bytes(np.random.SeedSequence((seed, draw)).generate_state(1).tobytes(), "little")
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)
    return apply(Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])).numpy()


def shifted(images: Tensor, numbers: Tensor, config: ShiftConfig, seed: int) -> Tensor:
    """Images (b, c, h, w), normalised, moved, mirrored and erased as (seed, numbers (b,)) has it, on their device."""
    b, _, h, w = images.shape
    draws = uniform(seed, numbers, 5).to(images.device)
    p = config.pixels
    low = images.amin((0, 2, 3), keepdim=True)  # black, whatever the mean
    padded = F.pad(images - low, (p, p, p, p)) + low
    steps = (draws[:, :2] * (2 * p + 1)).long()
    rows = (steps[:, :1] + torch.arange(h, device=images.device))[:, :, None]
    columns = (steps[:, 1:2] + torch.arange(w, device=images.device))[:, None, :]
    if config.flip:
        columns = torch.where((draws[:, 2] < 0.5)[:, None, None], columns.flip(2), columns)
    moved = padded[torch.arange(b, device=images.device)[:, None, None], :, rows, columns].permute(0, 3, 1, 2)
    if not config.erase:
        return moved
    near = [
        (torch.arange(side, device=images.device) + 0.5 - draws[:, 3 + i, None] * side).abs() < config.erase / 2
        for i, side in enumerate((h, w))
    ]
    return moved.masked_fill((near[0][:, :, None] & near[1][:, None, :])[:, None], 0.0)


@dataclass(frozen=True)
class MixConfig(Config, kind="mix"):
    """Mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899), one draw a batch, as timm's "batch" mode has it.

    Raises:
        BadInput: a negative strength.
    """

    mixup: float = 0.0
    """Beta(mixup, mixup) is the share of the second image; 0 for no mixup."""
    cutmix: float = 0.0
    """Beta(cutmix, cutmix) is the area of the box of the second image; 0 for no CutMix.  With both, every second batch
    has one."""

    def __post_init__(self) -> None:
        if min(self.mixup, self.cutmix) < 0:
            raise BadInput(f"mixup, cutmix: expected 0 or more, got {self.mixup}, {self.cutmix}")

    def draw(self, seed: int, index: int, height: int, width: int) -> Tensor:
        """What batch ``index`` is mixed by: the share of the images themselves in the target, whether by a box, and the
        box's top, bottom, left, right: (6,) float32."""
        rng = np.random.default_rng((seed, index))
        box = bool(self.cutmix) and (not self.mixup or rng.random() < 0.5)
        strength = self.cutmix if box else self.mixup
        share = float(rng.beta(strength, strength)) if strength else 1.0
        if not box:
            return torch.tensor([share, 0, 0, 0, 0, 0])
        side = (1.0 - share) ** 0.5
        edges = []
        for full in (height, width):
            centre, half = int(rng.integers(full)), int(full * side) // 2
            edges += [max(0, centre - half), min(full, centre + half)]
        kept = 1.0 - (edges[1] - edges[0]) * (edges[3] - edges[2]) / (height * width)
        return torch.tensor([kept, 1, *edges], dtype=torch.float32)


def mixed(images: Tensor, targets: Tensor, draw: Tensor) -> tuple[Tensor, Tensor]:
    """Images (b, c, h, w) and soft targets (b, n), every one mixed with its neighbour: 0 with 1, 2 with 3, ..., which
    are of one process however many there are."""
    h, w = images.shape[-2:]
    share, box, top, bottom, left, right = draw.to(images.dtype).unbind()
    y, x = torch.arange(h, device=images.device), torch.arange(w, device=images.device)
    inside = ((y >= top) & (y < bottom))[:, None] & ((x >= left) & (x < right))[None]
    own = torch.where(box > 0, (~inside).to(images.dtype), share)
    order = torch.arange(len(images), device=images.device) ^ 1
    order = order.clamp(max=len(images) - 1)  # the last of an odd number is mixed with itself
    return torch.lerp(images[order], images, own), torch.lerp(targets[order], targets, share)
