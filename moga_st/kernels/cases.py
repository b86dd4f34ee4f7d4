"""What to time: the depthwise operators of the 46.8 M Moving MNIST model, and the bytes they must move.

A pass is one read or one write of a tensor as large as the input; a copy of that many bytes, timed in the same
run, is the floor.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moga_st.kernels.depthwise import depthwise, depthwise_gelu, multi_order


@dataclass(frozen=True)
class Case:
    """One operator: ``function(x, *convs)`` with x of ``shape`` and a conv for each (channels, kernel, dilation)."""

    function: Callable[..., Tensor]
    shape: tuple[int, int, int, int]
    convs: tuple[tuple[int, int, int], ...]
    forward_passes: int
    """Of a training step: what the backward pass needs is written too."""
    backward_passes: int
    """The input's and the weights' gradients are two kernels; the least is to read their inputs once each. (The rows
    of a large kernel, in programs of their own, read them again, from L2 at best.)"""

    @property
    def name(self) -> str:
        return ", ".join([self.function.__name__, *(f"{k}x{k} d{d} on {c}" for c, k, d in self.convs)])

    def bytes(self, dtype: torch.dtype) -> tuple[int, int]:
        """To move, forward and backward."""
        one = math.prod(self.shape) * dtype.itemsize
        return self.forward_passes * one, self.backward_passes * one

    def build(self, device: torch.device, dtype: torch.dtype) -> tuple[list[nn.Conv2d], Tensor]:
        """The convolutions and a random input, channels-last."""
        convs = [
            nn.Conv2d(c, c, k, padding=d * (k // 2), dilation=d, groups=c, device=device, dtype=dtype)
            for c, k, d in self.convs
        ]
        x = torch.randn(self.shape, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
        return convs, x.requires_grad_()


def cases(batch: int) -> list[Case]:
    """Those of the blocks with 640 and with 512 channels, FFN ratio 8, on 16 x 16 maps."""
    found = []
    for c in (640, 512):
        three = (c, 5, 1), (3 * c // 8, 5, 2), (c // 2, 7, 3)
        found += [
            Case(depthwise, (batch, c, 16, 16), three[:1], 2, 4),
            Case(multi_order, (batch, c, 16, 16), three, 4, 8),
            # and what went into the GELU: one write more, then a read of two and a write to pass its gradient
            Case(depthwise_gelu, (batch, 8 * c, 16, 16), ((8 * c, 3, 1),), 3, 7),
        ]
    return found
