"""Moving MNIST, made on the training device in batches.

The process (Srivastava et al. 2015, as the field's code runs it): a digit starts at a uniform position of
the free canvas [0, 1]^2, moves in a uniform direction by ``step`` of the free canvas a frame, and is
clamped to the edge with its velocity's sign flipped when it leaves.  The first frame shows the position
after the first move.  Positions are floored to pixels; digits are composed by maximum.

Shape legend: ``b`` sequences, ``t`` frames, ``k`` digits a sequence, ``n`` digits to choose from, ``d``
digit size, ``s`` frame size.

Random draws are those of :mod:`moga_st.data.draws`, by (seed, number of the sequence).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from moga_st.config import Config
from moga_st.data.draws import uniform
from moga_st.errors import BadInput


@dataclass(frozen=True)
class MotionConfig(Config, kind="motion", was=("moga_st.data.moving_mnist:MotionConfig",)):
    """How the digits move; the defaults are the published data set's."""

    frame_size: int = 64
    """Height and width of a frame in pixels."""
    digits: int = 2
    """Digits a sequence."""
    step: float = 0.1
    """Distance moved a frame, as a fraction of the free canvas."""


AT_ONCE = 640  # frames composed at once: what a CPU's cache holds


class Drawn(NamedTuple):
    """The random choices behind a batch: all that is random in it."""

    digit: Tensor  # (b, k) int64: which digit image
    start: Tensor  # (b, k, 2) float64 in [0, 1): y, x on the free canvas
    angle: Tensor  # (b, k) float64 in [0, 2 pi)


def draw(seed: int, index: Tensor, config: MotionConfig, choices: int) -> Drawn:
    """The random choices of the sequences numbered ``index`` (b,) int64 of the stream ``seed``."""
    k = config.digits
    u = uniform(seed, index, 4 * k).view(-1, k, 4)
    digit = (u[..., 0] * choices).to(torch.int64)
    return Drawn(digit, u[..., 1:3], u[..., 3] * (2 * np.pi))


def positions(drawn: Drawn, config: MotionConfig, frames: int, digit_size: int) -> Tensor:
    """Top-left pixels (b, frames, k, 2) int64, in 0 to frame_size - digit_size."""
    if digit_size > config.frame_size:
        raise BadInput(f"frame_size {config.frame_size} is smaller than the {digit_size} px digits")
    # float64: the floor below must not depend on whose float32 sine rounds which way
    velocity = torch.stack([torch.sin(drawn.angle), torch.cos(drawn.angle)], dim=-1) * config.step
    place, path = drawn.start, []
    for _ in range(frames):
        place = (place + velocity).clamp_(0.0, 1.0)
        velocity = torch.where(place == place.round(), -velocity, velocity)  # at an edge, which is 0 or 1
        path.append(place)
    return (torch.stack(path, dim=1) * (config.frame_size - digit_size)).to(torch.int64)


def render(digits: Tensor, drawn: Drawn, config: MotionConfig, frames: int) -> Tensor:
    """Sequences (b, frames, 1, s, s) uint8 from digits (n, d, d) uint8, all on the digits' device."""
    d, s = digits.shape[-1], config.frame_size
    corner = positions(drawn, config, frames, d)
    corner = corner[..., 0] * s + corner[..., 1]  # (b, t, k) into a flat frame
    b, t, k = corner.shape
    # A digit drawn once into a long strip of zeros, its rows a frame's width apart: every frame that shows it, flat,
    # is a window of s * s pixels of that strip. So a frame is one copy of contiguous memory.
    most = (s - d) * (s + 1)  # the last corner
    length = most + s * s
    strips = digits.new_zeros(b * k * length)
    chosen = digits.flatten(1).index_select(0, drawn.digit.flatten()).view(-1, d, d)
    strips.as_strided((b * k, d, d), (length, s, 1), most).copy_(chosen)
    windows = strips.as_strided((b * k * length - s * s + 1, s * s), (1, 1))
    first = torch.arange(most, b * k * length, length, device=digits.device).view(b, 1, k) - corner
    out = digits.new_empty(b * t, s * s)
    for part, of_part in zip(out.split(AT_ONCE), first.view(b * t, k).split(AT_ONCE), strict=True):
        torch.index_select(windows, 0, of_part[:, 0], out=part)
        for i in range(1, k):
            torch.maximum(part, windows.index_select(0, of_part[:, i]), out=part)
    return out.view(b, t, 1, s, s)


def render_slowly(digits: np.ndarray, drawn: Drawn, config: MotionConfig, frames: int) -> np.ndarray:
    """What :func:`render` computes, one sequence, digit and frame at a time: the definition in plain
    Python, as the field's loaders run it.  Tests hold :func:`render` to it exactly, and the benchmark
    measures against it."""
    free = config.frame_size - digits.shape[-1]
    out = np.zeros((len(drawn.digit), frames, 1, config.frame_size, config.frame_size), np.uint8)
    for b in range(len(out)):
        for k in range(config.digits):
            image = digits[int(drawn.digit[b, k])]
            y, x = drawn.start[b, k].tolist()
            angle = float(drawn.angle[b, k])
            vy, vx = float(np.sin(angle)) * config.step, float(np.cos(angle)) * config.step
            for t in range(frames):
                y, x = y + vy, x + vx
                if y <= 0 or y >= 1:
                    y, vy = min(max(y, 0.0), 1.0), -vy
                if x <= 0 or x >= 1:
                    x, vx = min(max(x, 0.0), 1.0), -vx
                top, left = int(y * free), int(x * free)
                window = out[b, t, 0, top : top + len(image), left : left + len(image)]
                np.maximum(window, image, out=window)
    return out
