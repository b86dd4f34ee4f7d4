"""MNIST-CIFAR as a source of clips: two moving digits over a photograph, in colour, made on the device.

The process, as OpenSTL's loader has it: a CIFAR-10 photograph, resized to the frame with OpenCV's bicubic, stands
still; digits move over it as in Moving MNIST, black and white (values above 1 are white); the brighter one shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from moga_st.data.draws import uniform
from moga_st.data.video.digits import MNISTConfig
from moga_st.data.video.photographs import CIFAR10Config, PhotographsConfig
from moga_st.data.video.published import RGB
from moga_st.tasks.moving_digits import MovingDigits, MovingDigitsConfig
from moga_st.tasks.task import Setting, Split

PUBLISHED_TEST = tuple(f"{folder}mnist_cifar_test_seq.npy" for folder in ("", "moving_mnist/"))
"""Where in the data root the published file of test sequences can lie."""


@dataclass(frozen=True)
class MNISTCIFARConfig(MovingDigitsConfig, kind="mnist_cifar"):
    """Predict digits that move over photographs."""

    photographs: PhotographsConfig = field(default_factory=CIFAR10Config)
    """What stands behind the digits."""

    def data(self, setting: Setting) -> MNISTCIFAR:
        return MNISTCIFAR(self, setting)


class MNISTCIFAR(MovingDigits):
    """The source of clips that :class:`MNISTCIFARConfig` describes."""

    channels = RGB
    published_shape = (None, None, 64, 64, 3)

    def __init__(self, config: MNISTCIFARConfig, setting: Setting):
        photographs = config.photographs.load(setting.data_root)
        self.photographs = {s: getattr(photographs, s).to(setting.device) for s in ("train", "val", "test")}
        super().__init__(config, setting)
        self.digits = {split: (images > 1).to(torch.uint8) * 255 for split, images in self.digits.items()}
        self.source = f"{self.source}; {photographs.source}"
        self.fingerprint = f"{self.fingerprint}-{photographs.fingerprint}"
        self.facts["photographs"] = photographs.source

    def make(self, split: Literal["train"] | Split, numbers: Tensor) -> Tensor:
        return torch.maximum(super().make(split, numbers), self._behind(split, numbers)[:, None])

    def make_slowly(self, split: Literal["train"] | Split, numbers: np.ndarray) -> np.ndarray:
        behind = [self._behind(split, torch.tensor([n], device=self.setting.device)).cpu() for n in numbers.tolist()]
        return np.maximum(super().make_slowly(split, numbers), torch.cat(behind)[:, None].numpy())

    def _behind(self, split: Literal["train"] | Split, numbers: Tensor) -> Tensor:
        """The photograph (b, 3, s, s) behind each sequence: the digits' draws are those of Moving MNIST, this has a
        stream of its own."""
        photographs = self.photographs[split]
        chosen = (uniform(-1 - self.stream(split), numbers, 1)[:, 0] * len(photographs)).to(torch.int64)
        return enlarge(photographs[chosen], self.config.motion.frame_size)

    def _published_places(self) -> tuple[str, ...]:
        return PUBLISHED_TEST if isinstance(self.config.digits, MNISTConfig) else ()


def enlarge(images: Tensor, size: int) -> Tensor:
    """(b, 3, h, w) uint8 -> (b, 3, size, size) uint8, bicubic as OpenCV has it."""
    larger = F.interpolate(images.float(), (size, size), mode="bicubic", align_corners=False)
    return larger.round().clamp(0, 255).to(torch.uint8)
