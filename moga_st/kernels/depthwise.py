"""Depthwise convolutions, "same" padding, stride 1, in channels-last: alone, before a GELU, and in several orders.

:func:`depthwise`, :func:`depthwise_gelu` and :func:`multi_order` take the ``nn.Conv2d`` modules that hold the
parameters.  Where no kernel runs (no Triton, another dtype, the switch in ``moga_st.kernels``) they are what their
docstring's one line of PyTorch says, to the bit; but a CPU has its own way for kernels larger than 3x3, and for 3x3
on maps lower than that (``depthwise_cpu.py``).

Shape legend: ``b c h w``; ``k`` kernel size, ``d`` dilation.  Taps are a weight as kernels read it, (k * k, c).
"""

from __future__ import annotations

import os

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moga_st import kernels
from moga_st.kernels import depthwise_cpu
from moga_st.kernels import depthwise_operators as operators

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def depthwise(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """``conv(x)``: (b, c, h, w) -> (b, c, h, w)."""
    if not _kernel_runs(x, conv):
        return _without_kernel(x, conv)
    return operators.depthwise(_prepared(x), *_parameters(conv), conv.dilation[0])


def depthwise_gelu(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """``F.gelu(conv(x))``: (b, c, h, w) -> (b, c, h, w)."""
    if not _kernel_runs(x, conv):
        return F.gelu(_without_kernel(x, conv))
    keep = torch.is_grad_enabled()  # the backward pass needs what went into the GELU
    return operators.depthwise_gelu(_prepared(x), *_parameters(conv), conv.dilation[0], keep)[0]


def multi_order(x: Tensor, low: nn.Conv2d, middle: nn.Conv2d, high: nn.Conv2d) -> Tensor:
    """``first = low(x)``, then ``cat([untouched, middle(...), high(...)])`` over its channels in three ranges, as
    many as the three see: (b, c, h, w) -> (b, c, h, w).  The kernels work on ranges in place of slices and copies."""
    if not _kernel_runs(x, low, middle, high):
        widths = middle.in_channels, high.in_channels
        first, second, third = depthwise(x, low).split([low.in_channels - sum(widths), *widths], dim=1)
        return torch.cat([first, depthwise(second, middle), depthwise(third, high)], dim=1)
    first = depthwise(x, low)
    return operators.orders(first, *_parameters(middle), *_parameters(high), middle.dilation[0], high.dilation[0])


def _without_kernel(x: Tensor, conv: nn.Conv2d) -> Tensor:
    if not kernels.enabled or x.device.type != "cpu" or not _suits(x, conv) or conv.kernel_size[0] == 3 <= x.shape[2]:
        return conv(x)  # torch is as fast with 3x3 as its library can be, but where the map is lower
    assert conv.bias is not None
    return depthwise_cpu.Depthwise.apply(_autocast(x), _autocast(conv.weight), _autocast(conv.bias), conv.dilation[0])


def serve(device: torch.device) -> bool:
    """Whether kernels run on this device."""
    return kernels.enabled and _device_runs(device)


def _kernel_runs(x: Tensor, *convs: nn.Conv2d) -> bool:
    return serve(x.device) and x.numel() < 2**31 and all(_suits(x, conv) for conv in convs)  # offsets are 32-bit


def _suits(x: Tensor, conv: nn.Conv2d) -> bool:
    return x.dtype in DTYPES and x.ndim == 4 and x.numel() > 0 and _is_same_depthwise(conv, x)


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


# what torch.compiler.assume_constant_result sets, without importing the compiler: that takes longer than all else
# that a prediction imports
_device_runs._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]


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
    return operators.channels_last(_autocast(x))


def _parameters(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Taps and bias.  The transposition is plain PyTorch, so that inductor fuses it, and its gradient's."""
    assert conv.bias is not None
    return conv.weight.flatten(1).t().contiguous(), conv.bias
