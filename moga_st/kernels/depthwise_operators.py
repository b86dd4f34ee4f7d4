"""The operators behind :mod:`moga_st.kernels.depthwise`, their launches and their gradients.

They are custom_op, not triton_op: opaque to inductor, which with the latter traces every launch
into its graph, for no gain here, and cannot trace Triton's interpreter, where they are tested.  What opacity
costs, some microseconds of dispatch a call, is gone once a CUDA graph replays the step.  Whatever inductor
should fuse with its neighbours (casts, the GELU's gradient, the last sums of the weights' gradients) is
therefore not in an operator but in plain PyTorch around it: depthwise.py and the backward formulas below.
No operator synchronises, and what it launches follows from shapes alone, so a repeated run agrees to the bit.

Tiles too come from pure functions of shapes, not from triton.autotune.  Its choice follows timings, so that two
runs could sum in different orders, and it times kernels at the first sight of a shape, within a CUDA graph's
capture if that is where it is.  With 128 threads a tile, 64 channels of bfloat16 are 8 threads of 16 bytes, one
line of 128 bytes a position.

Shape legend: as in depthwise.py.
"""
# ruff: noqa: ARG001 (what an operator allocates, and what its backward pass keeps, depends on some arguments only)

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

_MULTIPROCESSORS = 132
"""Of an H100."""


def _ceil(a: int, b: int) -> int:
    return (a + b - 1) // b


def _lines(x: Tensor) -> tuple[int, int, int]:
    """Rows of the whole batch, height, width: sizes as the kernels take them."""
    b, _, h, w = x.shape
    return b * h, h, w


def _runs(x: Tensor, span: int, dilation: int) -> int:
    """Runs of the whole batch: see depthwise_triton.py."""
    lines, _, width = _lines(x)
    return lines * (width // (span * dilation) * dilation + min(width % (span * dilation), dilation))


def _longest_span(dilation: int) -> int:
    """Positions of a run. Four divide the usual widths; with dilation 3, three waste less of a row of 16."""
    return 3 if dilation == 3 else 4


def _span_and_programs(x: Tensor, channels: int, dilation: int, block_r: int, block_c: int) -> tuple[int, int]:
    """Of a convolution: its runs are long unless that leaves multiprocessors idle."""
    for span in (_longest_span(dilation), 2, 1):
        programs = _ceil(_runs(x, span, dilation), block_r) * _ceil(channels, block_c)
        if programs >= _MULTIPROCESSORS:
            break
    return span, programs


def _tile(*ranges: int) -> dict[str, int]:
    """To cover each of these ranges of channels: 1,024 runs of one channel, so that each of 128 threads has one of 8
    channels, in bfloat16 16 bytes a position."""
    block_c = min(64, 1 << (max(ranges) - 1).bit_length())
    return {"BLOCK_R": 1024 // block_c, "BLOCK_C": block_c}


class _Share(NamedTuple):
    """How a weight gradient's runs are shared out."""

    chunks: int
    length: int
    """Runs of a chunk."""
    programs: int
    """Of all chunks: one for each of their tiles of channels and shares of the kernel's rows."""
    rows: int
    """Kernel rows a program takes."""
    span: int


def _chunks(x: Tensor, *convolutions: tuple[int, int, int]) -> tuple[list[_Share], dict[str, int]]:
    """The share of each convolution (channels, size, dilation), and the tile of all.

    The programs should all run at once, three on a multiprocessor (their sums take registers), so one more could
    double the time; a chunk of less than four tiles is not worth its partial sums.  A program takes all nine taps
    of a 3x3, else one row of the kernel, which leaves registers for longer runs.
    """
    tile = _tile(*(channels for channels, _, _ in convolutions))
    block_r, block_c = tile.values()
    rows = [3 if size == 3 else 1 for _, size, _ in convolutions]
    per_chunk = [
        _ceil(channels, block_c) * (size // r) for (channels, size, _), r in zip(convolutions, rows, strict=True)
    ]
    shares = []
    for (_, _, dilation), r, programs in zip(convolutions, rows, per_chunk, strict=True):
        span = 2 if r == 3 else _longest_span(dilation)
        runs = _runs(x, span, dilation)
        chunks = max(1, min(3 * _MULTIPROCESSORS // sum(per_chunk), _ceil(runs, 4 * block_r)))
        length = _ceil(_ceil(runs, chunks), block_r) * block_r
        chunks = _ceil(runs, length)
        shares.append(_Share(chunks, length, chunks * programs, r, span))
    return shares, tile


def _size(taps: Tensor) -> int:
    return math.isqrt(taps.shape[0])


def _empty(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last)


def _empty_parts(x: Tensor, chunks: int, size: int, channels: int) -> Tensor:
    """Partial sums (chunks, k * k + 1, c) of the gradients of the taps and, last, of the bias."""
    return x.new_empty(chunks, size**2 + 1, channels, dtype=torch.promote_types(x.dtype, torch.float32))


def _launch(kernel: str, programs: int, tensors: tuple[Tensor, ...], *sizes: int, **constants: int) -> None:
    from moga_st.kernels import depthwise_triton

    with torch.cuda.device_of(tensors[0]):  # Triton launches on the current device
        getattr(depthwise_triton, kernel)[(programs,)](*tensors, *sizes, **constants)


def _launch_depthwise(x: Tensor, taps: Tensor, bias: Tensor, dilation: int, y: Tensor, pre: Tensor, **flags: bool):
    tile = _tile(x.shape[1])
    span, programs = _span_and_programs(x, x.shape[1], dilation, *tile.values())
    constants = {"CHANNELS": x.shape[1], "K": _size(taps), "D": dilation, **flags, "SPAN": span, **tile}
    _launch("depthwise", programs, (channels_last(x), taps, bias, y, pre), *_lines(x), **constants)


def _orders_constants(x: Tensor, middle: Tensor, high: Tensor, d_middle: int, d_high: int) -> dict[str, int]:
    widths = {"MIDDLE": middle.shape[1], "HIGH": high.shape[1]}
    kernels = {"K_MIDDLE": _size(middle), "D_MIDDLE": d_middle, "K_HIGH": _size(high), "D_HIGH": d_high}
    return {"LOW": x.shape[1] - sum(widths.values()), **widths, **kernels}


def _launch_orders(tensors: tuple[Tensor, ...], constants: dict[str, int], flip: bool) -> None:
    x, (lines, _, width) = tensors[0], _lines(tensors[0])
    tile = _tile(*(constants[name] for name in ("LOW", "MIDDLE", "HIGH")))
    (span_middle, middle), (span_high, high) = (
        _span_and_programs(x, constants[name], constants[f"D_{name}"], *tile.values()) for name in ("MIDDLE", "HIGH")
    )
    low = _ceil(lines * width, 4 * tile["BLOCK_R"]) * _ceil(constants["LOW"], tile["BLOCK_C"])
    constants = constants | {"FLIP": flip, "SPAN_MIDDLE": span_middle, "SPAN_HIGH": span_high, **tile}
    _launch("orders", low + middle + high, tensors, high, middle, *_lines(x), **constants)


def _orders_chunks(x: Tensor, middle: Tensor, high: Tensor, d_middle: int, d_high: int):
    return _chunks(x, (middle.shape[1], _size(middle), d_middle), (high.shape[1], _size(high), d_high))


@torch.library.custom_op("moga_st::depthwise", mutates_args=())
def depthwise(x: Tensor, taps: Tensor, bias: Tensor, dilation: int) -> Tensor:
    y = _empty(x)
    _launch_depthwise(x, taps, bias, dilation, y, y, FLIP=False, GELU=False, KEEP=False)
    return y


@depthwise.register_fake
def _(x: Tensor, taps: Tensor, bias: Tensor, dilation: int) -> Tensor:
    return _empty(x)


@torch.library.custom_op("moga_st::depthwise_gelu", mutates_args=())
def depthwise_gelu(x: Tensor, taps: Tensor, bias: Tensor, dilation: int, keep: bool) -> tuple[Tensor, Tensor]:
    """The GELU and, to keep for the backward pass, what went into it (else an empty tensor)."""
    y, pre = _empty_gelu(x, taps, bias, dilation, keep)
    _launch_depthwise(x, taps, bias, dilation, y, pre, FLIP=False, GELU=True, KEEP=keep)
    return y, pre


@depthwise_gelu.register_fake
def _empty_gelu(x: Tensor, taps: Tensor, bias: Tensor, dilation: int, keep: bool) -> tuple[Tensor, Tensor]:
    return _empty(x), _empty(x) if keep else x.new_empty(0)


@torch.library.custom_op("moga_st::depthwise_input_gradient", mutates_args=())
def _depthwise_input_gradient(dy: Tensor, taps: Tensor, dilation: int) -> Tensor:
    dx = _empty(dy)
    _launch_depthwise(dy, taps, taps, dilation, dx, dx, FLIP=True, GELU=False, KEEP=False)
    return dx


@_depthwise_input_gradient.register_fake
def _(dy: Tensor, taps: Tensor, dilation: int) -> Tensor:
    return _empty(dy)


@torch.library.custom_op("moga_st::depthwise_weight_gradient", mutates_args=())
def _depthwise_weight_gradient(dy: Tensor, x: Tensor, size: int, dilation: int) -> Tensor:
    """As :func:`_empty_parts` says."""
    [share], tile = _chunks(x, (x.shape[1], size, dilation))
    parts = _empty_parts(x, share.chunks, size, x.shape[1])
    tensors = channels_last(dy), channels_last(x), parts
    constants = {"CHANNELS": x.shape[1], "K": size, "D": dilation, "TAP_ROWS": share.rows, "SPAN": share.span}
    _launch("depthwise_weights", share.programs, tensors, share.length, *_lines(x), **constants, **tile)
    return parts


@_depthwise_weight_gradient.register_fake
def _(dy: Tensor, x: Tensor, size: int, dilation: int) -> Tensor:
    [share], _ = _chunks(x, (x.shape[1], size, dilation))
    return _empty_parts(x, share.chunks, size, x.shape[1])


@torch.library.custom_op("moga_st::orders", mutates_args=())
def orders(
    x: Tensor, middle: Tensor, middle_bias: Tensor, high: Tensor, high_bias: Tensor, d_middle: int, d_high: int
) -> Tensor:
    """The channels in three ranges: untouched, as many as ``middle`` has through it, as many as ``high`` has."""
    y = _empty(x)
    tensors = channels_last(x), middle, middle_bias, high, high_bias, y
    _launch_orders(tensors, _orders_constants(x, middle, high, d_middle, d_high), flip=False)
    return y


@orders.register_fake
def _(
    x: Tensor, middle: Tensor, middle_bias: Tensor, high: Tensor, high_bias: Tensor, d_middle: int, d_high: int
) -> Tensor:
    return _empty(x)


@torch.library.custom_op("moga_st::orders_input_gradient", mutates_args=())
def _orders_input_gradient(dy: Tensor, middle: Tensor, high: Tensor, d_middle: int, d_high: int) -> Tensor:
    dx = _empty(dy)
    tensors = channels_last(dy), middle, middle, high, high, dx
    _launch_orders(tensors, _orders_constants(dy, middle, high, d_middle, d_high), flip=True)
    return dx


@_orders_input_gradient.register_fake
def _(dy: Tensor, middle: Tensor, high: Tensor, d_middle: int, d_high: int) -> Tensor:
    return _empty(dy)


@torch.library.custom_op("moga_st::orders_weight_gradient", mutates_args=())
def _orders_weight_gradient(
    dy: Tensor, x: Tensor, middle: Tensor, high: Tensor, d_middle: int, d_high: int
) -> tuple[Tensor, Tensor]:
    """For ``middle`` and for ``high``, each as :func:`_empty_parts` says."""
    parts = _empty_orders_parts(dy, x, middle, high, d_middle, d_high)
    (of_middle, of_high), tile = _orders_chunks(x, middle, high, d_middle, d_high)
    tensors = channels_last(dy), channels_last(x), *parts
    sizes = of_high.length, of_middle.length, of_high.programs, *_lines(x)
    constants = _orders_constants(x, middle, high, d_middle, d_high) | tile
    for name, share in ("MIDDLE", of_middle), ("HIGH", of_high):
        constants |= {f"TAP_ROWS_{name}": share.rows, f"SPAN_{name}": share.span}
    _launch("orders_weights", of_middle.programs + of_high.programs, tensors, *sizes, **constants)
    return parts


@_orders_weight_gradient.register_fake
def _empty_orders_parts(
    dy: Tensor, x: Tensor, middle: Tensor, high: Tensor, d_middle: int, d_high: int
) -> tuple[Tensor, Tensor]:
    shares, _ = _orders_chunks(x, middle, high, d_middle, d_high)
    first, second = (
        _empty_parts(x, share.chunks, _size(taps), taps.shape[1])
        for share, taps in zip(shares, (middle, high), strict=True)
    )
    return first, second


def _sums(parts: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of taps and bias from their partial sums."""
    total = parts.sum(0).to(like.dtype)
    return total[:-1], total[-1]


def _depthwise_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, taps, _, ctx.dilation = inputs
    ctx.save_for_backward(x, taps)


def _depthwise_backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    x, taps, *_ = ctx.saved_tensors
    dy, dx, dtaps, dbias = channels_last(dy), None, None, None
    if ctx.needs_input_grad[0]:
        dx = _depthwise_input_gradient(dy, taps, ctx.dilation)
    if any(ctx.needs_input_grad[1:3]):
        dtaps, dbias = _sums(_depthwise_weight_gradient(dy, x, _size(taps), ctx.dilation), taps)
    return dx, dtaps, dbias, None


def _depthwise_gelu_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, taps, _, ctx.dilation, _ = inputs
    ctx.save_for_backward(x, taps, output[1])
    ctx.mark_non_differentiable(output[1])


def _depthwise_gelu_backward(ctx: Any, dy: Tensor, _: Any) -> tuple[Any, ...]:
    pre = ctx.saved_tensors[2]
    return *_depthwise_backward(ctx, torch.ops.aten.gelu_backward(channels_last(dy), pre)), None


def _orders_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, middle, _, high, _, *ctx.dilations = inputs
    ctx.save_for_backward(x, middle, high)


def _orders_backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    x, middle, high = ctx.saved_tensors
    dy, dx, gradients = channels_last(dy), None, (None,) * 4
    if ctx.needs_input_grad[0]:
        dx = _orders_input_gradient(dy, middle, high, *ctx.dilations)
    if any(ctx.needs_input_grad[1:5]):
        parts = _orders_weight_gradient(dy, x, middle, high, *ctx.dilations)
        gradients = (*_sums(parts[0], middle), *_sums(parts[1], high))
    return dx, *gradients, None, None


depthwise.register_autograd(_depthwise_backward, setup_context=_depthwise_setup)
depthwise_gelu.register_autograd(_depthwise_gelu_backward, setup_context=_depthwise_gelu_setup)
orders.register_autograd(_orders_backward, setup_context=_orders_setup)


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
