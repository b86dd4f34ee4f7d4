"""Depthwise convolutions on a CPU: torch's own operators, put together as its library runs them fastest.

oneDNN, which runs torch's convolutions there, leaves its fast code for plain loops where a kernel reaches far over
the edge (7x7 with dilation 3), where it is dilated (the gradient of the input), for the gradient of any weight
larger than 3x3, and for the gradients of a map that is lower than its kernel.  So the input is padded first, the
gradient of the input is the convolution with the kernel turned round, and the gradient of a weight is a product of
matrices.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

LARGEST_PADDING = 4
"""What oneDNN still pads itself at full speed."""


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """``F.conv2d`` with "same" padding, a group a channel: (b, c, h, w), (c, 1, k, k), (c,) -> (b, c, h, w)."""
    padding = dilation * (weight.shape[-1] // 2)
    if padding > LARGEST_PADDING:
        x, padding = F.pad(x, (padding,) * 4), 0
    return F.conv2d(x, weight, bias, padding=padding, dilation=dilation, groups=weight.shape[0])


def weight_gradient(x: Tensor, dy: Tensor, size: int, dilation: int) -> Tensor:
    """(b, c, h, w) twice -> (c, 1, k, k).

    Row i of a channel's kernel meets the padded rows i d to i d + h.  Over these rows and the batch, the product of
    all columns of x with all columns of dy is one matrix (w + 2 p, w); tap j is the sum of the diagonal that
    begins in row j d.
    """
    b, c, h, w = x.shape
    padding = dilation * (size // 2)
    # rows before the batch: the rows that a row of taps meets are then one piece
    rows = F.pad(x.contiguous(), (padding,) * 4).permute(1, 2, 0, 3).reshape(c, -1, w + 2 * padding)
    dy = dy.contiguous().permute(1, 2, 0, 3).reshape(c, h * b, w)
    taps = []
    for i in range(size):
        top = i * dilation * b
        products = torch.bmm(rows[:, top : top + h * b].transpose(1, 2), dy)
        diagonals = products.as_strided((c, size, w), (products.stride(0), dilation * w, w + 1))
        taps.append(diagonals.sum(2))
    return torch.stack(taps, 1).unsqueeze(1)


def gradients(dy: Tensor, x: Tensor, weight: Tensor, dilation: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the input, weight and bias of :func:`convolve`."""
    size = weight.shape[-1]
    if size == 3:
        p, h = dilation, x.shape[2]
        if h < size:
            x, dy = (F.pad(t, (0, 0, 0, size - h)) for t in (x, dy))
        dx, dw, db = torch.ops.aten.convolution_backward(
            dy, x, weight, [len(weight)], [1, 1], [p, p], [dilation] * 2, False, [0, 0], len(weight), [True, True, True]
        )
        return dx[:, :, :h], dw, db
    return convolve(dy, weight.flip(2, 3), None, dilation), weight_gradient(x, dy, size, dilation), dy.sum((0, 2, 3))


class Depthwise(torch.autograd.Function):
    """:func:`convolve` with its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return convolve(x, weight, bias, dilation)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        if weight.shape[-1] == 3:
            return *gradients(dy, x, weight, ctx.dilation), None
        dx = dweight = dbias = None
        if ctx.needs_input_grad[0]:
            dx = convolve(dy, weight.flip(2, 3), None, ctx.dilation)
        if ctx.needs_input_grad[1]:
            dweight = weight_gradient(x, dy, weight.shape[-1], ctx.dilation)
        if ctx.needs_input_grad[2]:
            dbias = dy.sum((0, 2, 3))
        return dx, dweight, dbias, None
