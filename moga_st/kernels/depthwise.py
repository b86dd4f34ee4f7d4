"""Depthwise convolutions, "same" padding, stride 1, in channels-last: alone, before a GELU, and in several orders.

:func:`depthwise`, :func:`depthwise_gelu` and :func:`multi_order` take the ``nn.Conv2d`` modules that hold the
parameters.  Where no kernel runs (no Triton, another dtype, the switch in ``moga_st.kernels``) they are what their
docstring's one line of PyTorch says, to the bit.  A CPU has its own way for kernels larger than 3x3
(``depthwise_cpu.py``).

Shape legend: ``b c h w``; ``k`` kernel size, ``d`` dilation.  Taps are a weight as kernels read it, (k * k, c).
"""
# ruff: noqa: ARG001 (what an operator allocates, and what its backward pass keeps, depends on some arguments only)

from __future__ import annotations

import math
import os
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moga_st import kernels
from moga_st.kernels import depthwise_cpu

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def depthwise(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """``conv(x)``: (b, c, h, w) -> (b, c, h, w)."""
    if not _kernel_runs(x, conv):
        return _without_kernel(x, conv)
    return _depthwise(_prepared(x), *_parameters(conv), conv.dilation[0])


def depthwise_gelu(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """``F.gelu(conv(x))``: (b, c, h, w) -> (b, c, h, w)."""
    if not _kernel_runs(x, conv):
        return F.gelu(_without_kernel(x, conv))
    keep = torch.is_grad_enabled()  # the backward pass needs what went into the GELU
    return _depthwise_gelu(_prepared(x), *_parameters(conv), conv.dilation[0], keep)[0]


def multi_order(x: Tensor, low: nn.Conv2d, middle: nn.Conv2d, high: nn.Conv2d) -> Tensor:
    """``first = low(x)``, then ``cat([untouched, middle(...), high(...)])`` over its channels in three ranges, as
    many as the three see: (b, c, h, w) -> (b, c, h, w).  The kernels work on ranges in place of slices and copies."""
    if not _kernel_runs(x, low, middle, high):
        widths = middle.in_channels, high.in_channels
        first, second, third = depthwise(x, low).split([low.in_channels - sum(widths), *widths], dim=1)
        return torch.cat([first, depthwise(second, middle), depthwise(third, high)], dim=1)
    first = depthwise(x, low)
    return _orders(first, *_parameters(middle), *_parameters(high), middle.dilation[0], high.dilation[0])


def _without_kernel(x: Tensor, conv: nn.Conv2d) -> Tensor:
    if not kernels.enabled or x.device.type != "cpu" or conv.kernel_size[0] == 3 or not _suits(x, conv):
        return conv(x)  # torch is as fast with 3x3 as its library can be
    assert conv.bias is not None
    return depthwise_cpu.Depthwise.apply(_autocast(x), _autocast(conv.weight), _autocast(conv.bias), conv.dilation[0])


def serve(device: torch.device) -> bool:
    """Whether kernels run on this device."""
    return kernels.enabled and _device_runs(device)


def _kernel_runs(x: Tensor, *convs: nn.Conv2d) -> bool:
    return serve(x.device) and x.numel() < 2**31 and all(_suits(x, conv) for conv in convs)  # offsets are 32-bit


def _suits(x: Tensor, conv: nn.Conv2d) -> bool:
    return x.dtype in DTYPES and x.ndim == 4 and x.numel() > 0 and _is_same_depthwise(conv, x)


@torch.compiler.assume_constant_result
def _device_runs(device: torch.device) -> bool:
    """Whether Triton serves this device: GPUs as of Ampere, AMD's, and the CPU under Triton's interpreter."""
    if device.type == "cpu":
        return os.environ.get("TRITON_INTERPRET") == "1"
    if device.type != "cuda" or (torch.version.hip is None and torch.cuda.get_device_capability(device) < (8, 0)):
        return False
    try:  # here, not above: it is slow to import, and a platform may lack it
        import triton  # noqa: F401
    except ImportError:
        return False
    return True


def _is_same_depthwise(conv: nn.Conv2d, x: Tensor) -> bool:
    k, d = conv.kernel_size[0], conv.dilation[0]
    return (
        conv.groups == conv.in_channels == conv.out_channels
        and k in (3, 5, 7)
        and conv.kernel_size == (k, k)
        and conv.dilation == (d, d)
        and conv.stride == (1, 1)
        and conv.padding == (d * (k // 2),) * 2
        and conv.padding_mode == "zeros"
        and conv.bias is not None
        and conv.weight.device == x.device
        # a mixture without autocast is an error, which the plain definition raises
        and (conv.weight.dtype == x.dtype or torch.is_autocast_enabled(x.device.type))
    )


def _autocast(x: Tensor) -> Tensor:
    """As autocast casts what a convolution reads."""
    if torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64:
        x = x.to(torch.get_autocast_dtype(x.device.type))
    return x


def _prepared(x: Tensor) -> Tensor:
    """As autocast casts it, and channels-last.  The weights stay as they are: kernels convert what they read, so that
    their rounding is spared and so is a launch."""
    return _channels_last(_autocast(x))


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _parameters(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Taps and bias.  The transposition is plain PyTorch, so that inductor fuses it, and its gradient's."""
    assert conv.bias is not None
    return conv.weight.flatten(1).t().contiguous(), conv.bias


# The operators.  They are custom_op, not triton_op: opaque to inductor, which with the latter traces every launch
# into its graph, for no gain here, and cannot trace Triton's interpreter, where they are tested.  What opacity
# costs, some microseconds of dispatch a call, is gone once a CUDA graph replays the step.  Whatever inductor
# should fuse with its neighbours (casts, the GELU's gradient, the last sums of the weights' gradients) is
# therefore not in an operator but in plain PyTorch around it: the functions above and the backward formulas.
# No operator synchronises, and what it launches follows from shapes alone, so a repeated run agrees to the bit.
#
# Tiles too come from pure functions of shapes, not from triton.autotune.  Its choice follows timings, so that two
# runs could sum in different orders, and it times kernels at the first sight of a shape, within a CUDA graph's
# capture if that is where it is.  With 128 threads a tile, 64 channels of bfloat16 are 8 threads of 16 bytes, one
# line of 128 bytes a position.
_PROGRAMS = 4 * 132  # four for each multiprocessor of an H100


def _ceil(a: int, b: int) -> int:
    return (a + b - 1) // b


def _columns(*ranges: int) -> tuple[int, int]:
    """Channels of a tile, and how many tiles side by side cover the ranges of channels."""
    block_c = min(64, 1 << (max(ranges) - 1).bit_length())
    return block_c, sum(_ceil(channels, block_c) for channels in ranges)


def _tiles(positions: int, *ranges: int) -> tuple[int, dict[str, int]]:
    """Programs of a convolution and their tile: 32 elements a thread, fewer where that makes too few programs."""
    block_c, columns = _columns(*ranges)
    block_p = min(4096 // block_c, 128)
    while block_p > 16 and _ceil(positions, block_p) * columns < _PROGRAMS:
        block_p //= 2
    return _ceil(positions, block_p) * columns, {"BLOCK_P": block_p, "BLOCK_C": block_c}


def _chunks(positions: int, *ranges: int) -> tuple[int, int, int, dict[str, int]]:
    """How a weight gradient's positions are shared out: chunks, positions of each, programs, and their tile.

    A tile is 8 elements a thread, which leaves registers for a sum for each of nine taps.  The programs should all
    run at once, so one more could double the time; a chunk of less than four tiles is not worth its partial sums.
    """
    block_c, columns = _columns(*ranges)
    block_p = min(1024 // block_c, 64)
    length = _ceil(positions, max(1, min(_PROGRAMS // columns, _ceil(positions, 4 * block_p))))
    length = _ceil(length, block_p) * block_p
    chunks = _ceil(positions, length)
    return chunks, length, chunks * columns, {"BLOCK_P": block_p, "BLOCK_C": block_c}


def _sizes(x: Tensor) -> tuple[int, int, int]:
    """Positions of the whole batch, height, width."""
    b, _, h, w = x.shape
    return b * h * w, h, w


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
    positions, height, width = _sizes(x)
    programs, tile = _tiles(positions, x.shape[1])
    constants = {"CHANNELS": x.shape[1], "K": _size(taps), "D": dilation, **flags, **tile}
    _launch("depthwise", programs, (_channels_last(x), taps, bias, y, pre), positions, height, width, **constants)


def _orders_constants(x: Tensor, middle: Tensor, high: Tensor, d_middle: int, d_high: int) -> dict[str, int]:
    widths = {"MIDDLE": middle.shape[1], "HIGH": high.shape[1]}
    kernels = {"K_MIDDLE": _size(middle), "D_MIDDLE": d_middle, "K_HIGH": _size(high), "D_HIGH": d_high}
    return {"LOW": x.shape[1] - sum(widths.values()), **widths, **kernels}


@torch.library.custom_op("moga_st::depthwise", mutates_args=())
def _depthwise(x: Tensor, taps: Tensor, bias: Tensor, dilation: int) -> Tensor:
    y = _empty(x)
    _launch_depthwise(x, taps, bias, dilation, y, y, FLIP=False, GELU=False, KEEP=False)
    return y


@_depthwise.register_fake
def _(x: Tensor, taps: Tensor, bias: Tensor, dilation: int) -> Tensor:
    return _empty(x)


@torch.library.custom_op("moga_st::depthwise_gelu", mutates_args=())
def _depthwise_gelu(x: Tensor, taps: Tensor, bias: Tensor, dilation: int, keep: bool) -> tuple[Tensor, Tensor]:
    """The GELU and, to keep for the backward pass, what went into it (else an empty tensor)."""
    y, pre = _empty_gelu(x, taps, bias, dilation, keep)
    _launch_depthwise(x, taps, bias, dilation, y, pre, FLIP=False, GELU=True, KEEP=keep)
    return y, pre


@_depthwise_gelu.register_fake
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
    positions, height, width = _sizes(x)
    chunks, length, programs, tile = _chunks(positions, x.shape[1])
    parts = _empty_parts(x, chunks, size, x.shape[1])
    tensors = _channels_last(dy), _channels_last(x), parts
    constants = {"CHANNELS": x.shape[1], "K": size, "D": dilation, **tile}
    _launch("depthwise_weights", programs, tensors, length, positions, height, width, **constants)
    return parts


@_depthwise_weight_gradient.register_fake
def _(dy: Tensor, x: Tensor, size: int, dilation: int) -> Tensor:
    return _empty_parts(x, _chunks(_sizes(x)[0], x.shape[1])[0], size, x.shape[1])


@torch.library.custom_op("moga_st::orders", mutates_args=())
def _orders(
    x: Tensor, middle: Tensor, middle_bias: Tensor, high: Tensor, high_bias: Tensor, d_middle: int, d_high: int
) -> Tensor:
    """The channels in three ranges: untouched, as many as ``middle`` has through it, as many as ``high`` has."""
    y, constants = _empty(x), _orders_constants(x, middle, high, d_middle, d_high)
    programs, tile = _tiles(_sizes(x)[0], *(constants[name] for name in ("LOW", "MIDDLE", "HIGH")))
    tensors = _channels_last(x), middle, middle_bias, high, high_bias, y
    _launch("orders", programs, tensors, *_sizes(x), **constants, FLIP=False, **tile)
    return y


@_orders.register_fake
def _(
    x: Tensor, middle: Tensor, middle_bias: Tensor, high: Tensor, high_bias: Tensor, d_middle: int, d_high: int
) -> Tensor:
    return _empty(x)


@torch.library.custom_op("moga_st::orders_input_gradient", mutates_args=())
def _orders_input_gradient(dy: Tensor, middle: Tensor, high: Tensor, d_middle: int, d_high: int) -> Tensor:
    dx, constants = _empty(dy), _orders_constants(dy, middle, high, d_middle, d_high)
    programs, tile = _tiles(_sizes(dy)[0], *(constants[name] for name in ("LOW", "MIDDLE", "HIGH")))
    tensors = _channels_last(dy), middle, middle, high, high, dx
    _launch("orders", programs, tensors, *_sizes(dy), **constants, FLIP=True, **tile)
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
    _, length, programs, tile = _chunks(_sizes(x)[0], middle.shape[1], high.shape[1])
    tensors = _channels_last(dy), _channels_last(x), *parts
    constants = _orders_constants(x, middle, high, d_middle, d_high) | tile
    _launch("orders_weights", programs, tensors, length, *_sizes(x), **constants)
    return parts


@_orders_weight_gradient.register_fake
def _empty_orders_parts(
    dy: Tensor, x: Tensor, middle: Tensor, high: Tensor, d_middle: int, d_high: int
) -> tuple[Tensor, Tensor]:
    chunks = _chunks(_sizes(x)[0], middle.shape[1], high.shape[1])[0]
    first, second = (_empty_parts(x, chunks, _size(taps), taps.shape[1]) for taps in (middle, high))
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
    dy, dx, dtaps, dbias = _channels_last(dy), None, None, None
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
    return *_depthwise_backward(ctx, torch.ops.aten.gelu_backward(_channels_last(dy), pre)), None


def _orders_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, middle, _, high, _, *ctx.dilations = inputs
    ctx.save_for_backward(x, middle, high)


def _orders_backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    x, middle, high = ctx.saved_tensors
    dy, dx, gradients = _channels_last(dy), None, (None,) * 4
    if ctx.needs_input_grad[0]:
        dx = _orders_input_gradient(dy, middle, high, *ctx.dilations)
    if any(ctx.needs_input_grad[1:5]):
        parts = _orders_weight_gradient(dy, x, middle, high, *ctx.dilations)
        gradients = (*_sums(parts[0], middle), *_sums(parts[1], high))
    return dx, *gradients, None, None


_depthwise.register_autograd(_depthwise_backward, setup_context=_depthwise_setup)
_depthwise_gelu.register_autograd(_depthwise_gelu_backward, setup_context=_depthwise_gelu_setup)
_orders.register_autograd(_orders_backward, setup_context=_orders_setup)
