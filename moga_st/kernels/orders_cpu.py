"""The three depthwise convolutions of a Moga block on one thread of a CPU: forward and backward.

Two ways give the same numbers within rounding.  :class:`Direct` slides the kernels over the map.  On a small map most
of a large kernel lies outside (7x7 with dilation 3 is 19 wide), and the zeros around the map are many times its size.
There a depthwise convolution is, for each channel, one product with a matrix of all positions by all positions:
:class:`Dense`.

Shape legend: ``b`` examples of this shard, ``m`` = b h w positions, ``c`` channels, ``k`` kernel size.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from moga_st.kernels.depthwise_cpu import convolve, gradients
from moga_st.kernels.sharded import grid, rows

LARGEST_DENSE = 64
"""Positions of a map up to which :class:`Dense` is taken: with it a block on 2 x 2 to 8 x 8 positions trained 1.7 to 2
times as fast on a core with AVX2, and on 14 x 14 more slowly."""
DILATIONS = (1, 2, 3)
"""Of the low, middle and high order."""


class Weights(NamedTuple):
    """Weights (c, 1, k, k) of the three orders and their biases (c,)."""

    low: Tensor
    low_bias: Tensor
    middle: Tensor
    middle_bias: Tensor
    high: Tensor
    high_bias: Tensor


def way(like: Tensor) -> type[Direct] | type[Dense]:
    """The faster way for a map as ``like`` (b, c, h, w) has it."""
    return Dense if like[0, 0].numel() <= LARGEST_DENSE else Direct


class Direct:
    """Kernels that slide over the map."""

    @staticmethod
    def forward(a: Tensor, like: Tensor, weights: Weights) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(m, c) -> the three orders (m, c), and what :meth:`backward` needs."""
        w = weights
        first = convolve(grid(a, like), w.low, w.low_bias, DILATIONS[0])
        untouched, second, third = first.split(_widths(first.shape[1], w), 1)
        second, third = (t.contiguous(memory_format=torch.channels_last) for t in (second, third))
        second_out = convolve(second, w.middle, w.middle_bias, DILATIONS[1])
        third_out = convolve(third, w.high, w.high_bias, DILATIONS[2])
        orders = torch.cat([rows(untouched), rows(second_out), rows(third_out)], 1)
        return orders, (grid(a, like), second, third)

    @staticmethod
    def backward(
        d_value: Tensor, mix: Tensor, saved: Sequence[Tensor], weights: Weights
    ) -> tuple[Tensor, list[Tensor]]:
        """The gradients of ``a`` and of the weights, from that of ``orders @ mix.t()``."""
        a, second, third = saved
        d_orders = d_value @ mix
        _, d_second, d_third = d_orders.split(_widths(d_orders.shape[1], weights), 1)
        d_second_in, *d_middle = gradients(grid(d_second.contiguous(), a), second, weights.middle, DILATIONS[1])
        d_third_in, *d_high = gradients(grid(d_third.contiguous(), a), third, weights.high, DILATIONS[2])
        d_second.copy_(rows(d_second_in))
        d_third.copy_(rows(d_third_in))
        da, *d_low = gradients(grid(d_orders, a), a, weights.low, DILATIONS[0])
        return rows(da), [*d_low, *d_middle, *d_high]


class Dense:
    """A matrix a channel.  All is kept with the channels first, (c, b, h w): then the orders are ranges."""

    @staticmethod
    def forward(a: Tensor, like: Tensor, weights: Weights) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(m, c) -> the three orders (m, c), and what :meth:`backward` needs."""
        b, c, h, w = like.shape
        matrices = [_matrix(weight, h, w, d) for weight, d in zip(weights[::2], DILATIONS, strict=True)]
        a = a.t().contiguous().view(c, b, h * w)
        first = torch.baddbmm(weights.low_bias[:, None, None], a, matrices[0])
        pieces = first.split(_widths(c, weights))
        others = [torch.baddbmm(weights[2 * i + 1][:, None, None], pieces[i], matrices[i]) for i in (1, 2)]
        orders = torch.cat([pieces[0], *others])
        return orders.view(c, -1).t(), (a, first, *matrices, like)

    @staticmethod
    def backward(
        d_value: Tensor, mix: Tensor, saved: Sequence[Tensor], weights: Weights
    ) -> tuple[Tensor, list[Tensor]]:
        """The gradients of ``a`` and of the weights, from that of ``orders @ mix.t()``."""
        a, first, *matrices, like = saved
        d = (mix.t() @ d_value.t()).view_as(a)
        found: list[Tensor] = []
        pieces = first.split(_widths(len(a), weights))
        for i, d_piece in enumerate(d.split(_widths(len(a), weights))[1:], 1):
            found += _weight_gradients(d_piece, pieces[i], like, weights[2 * i], DILATIONS[i])
            d_piece.copy_(d_piece @ matrices[i].transpose(1, 2))
        low = _weight_gradients(d, a, like, weights.low, DILATIONS[0])
        return (d @ matrices[0].transpose(1, 2)).view(len(a), -1).t(), [*low, *found]


def _widths(channels: int, weights: Weights) -> list[int]:
    return [channels - len(weights.middle) - len(weights.high), len(weights.middle), len(weights.high)]


def _matrix(weight: Tensor, h: int, w: int, dilation: int) -> Tensor:
    """(c, 1, k, k) -> (c, h w, h w): row, the position that is read; column, the one that is written."""
    taps = _taps(h, w, weight.shape[-1], dilation, weight.dtype)
    return (weight.flatten(1) @ taps).view(len(weight), h * w, h * w)


def _weight_gradients(dy: Tensor, x: Tensor, like: Tensor, weight: Tensor, dilation: int) -> list[Tensor]:
    """Of a weight and its bias, from (c, b, h w) twice."""
    taps = _taps(*like.shape[2:], weight.shape[-1], dilation, weight.dtype)
    d_matrix = torch.bmm(x.transpose(1, 2), dy).flatten(1)
    return [(d_matrix @ taps.t()).view_as(weight), dy.sum((1, 2))]


@functools.lru_cache(maxsize=64)
def _taps(h: int, w: int, size: int, dilation: int, dtype: torch.dtype) -> Tensor:
    """(k k, h w h w): 1 where a tap reads the one position and writes the other."""

    def one(length: int) -> Tensor:
        """(k, read, written) along one axis."""
        place = torch.arange(length)
        offset = (torch.arange(size) - size // 2) * dilation
        return place[None, :, None] - place[None, None, :] == offset[:, None, None]

    both = one(h)[:, None, :, None, :, None] & one(w)[None, :, None, :, None, :]
    return both.reshape(size * size, -1).to(dtype)
