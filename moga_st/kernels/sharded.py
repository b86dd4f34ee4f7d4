"""Layers as a shard of a batch computes them (:mod:`moga_st.shards`): batch norm over all shards, 1x1 convolutions as
products of matrices, which one thread runs fastest.

:func:`prepare` changes the classes of a network's modules, not what they hold; outside shards they are what they were.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moga_st import shards
from moga_st.errors import BadInput

Reduce = Callable[[str, Tensor], Tensor]
"""``reduce(what, x)``: the x of every shard, stacked in their order."""


def rows(x: Tensor) -> Tensor:
    """(b, c, ...) -> (m, c), a view where ``x`` is channels-last."""
    return x.movedim(1, -1).reshape(-1, x.shape[1])


def grid(x: Tensor, like: Tensor) -> Tensor:
    """(m, c) -> (b, c, ...), the grid of ``like``, a view."""
    return x.view(len(like), *like.shape[2:], -1).movedim(-1, 1)


def norm_forward(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, reduce: Reduce
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Batch norm over all shards of rows (m, c): the result, and the batch's mean, variance and 1 / deviation (c,)."""
    mean = x.mean(0)
    var = (x - mean).square_().mean(0)
    found = reduce("statistics", torch.stack([mean, var]))
    means = found[:, 0]
    mean = means.mean(0)
    # of equal parts (Chan, Golub, LeVeque 1979): the mean of their variances, and the variance of their means
    var = found[:, 1].mean(0) + (means - mean).square().mean(0)
    inverse = torch.rsqrt(var + eps)
    scale = weight * inverse
    return torch.addcmul(torch.addcmul(bias, mean, scale, value=-1), x, scale), mean, var, inverse


def norm_backward(
    x: Tensor, dy: Tensor, mean: Tensor, inverse: Tensor, weight: Tensor, reduce: Reduce, residual: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """``residual`` + the gradient of x (m, c), and this shard's part of those of weight and bias (c,)."""
    centred = x - mean
    total, dot = dy.sum(0), (centred * dy).sum(0).mul_(inverse)
    found = reduce("gradients", torch.stack([total, dot]))
    all_total, all_dot = found.sum(0) / (len(found) * len(x))
    scale = weight * inverse
    dx = torch.addcmul(residual, dy, scale).addcmul_(centred, scale * inverse * all_dot, value=-1)
    return dx.sub_(scale * all_total), dot, total


def reduce_over_shards(module: nn.Module) -> Reduce:
    here = shards.current()
    assert here is not None
    group, number = here
    return lambda what, x: torch.stack(group.exchange(number, (id(module), what), x))


@torch.no_grad()
def update_running(norm: nn.modules.batchnorm._BatchNorm, mean: Tensor, var: Tensor, count: int) -> None:
    """What a batch norm remembers, once a batch; ``count`` rows a shard."""
    here = shards.current()
    assert here is not None
    if here[1] == 0:
        total = count * here[0].count
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        assert norm.momentum is not None
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(var * (total / max(1, total - 1)), norm.momentum)
        norm.num_batches_tracked.add_(1)


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, reduce: Reduce
    ) -> tuple[Tensor, Tensor, Tensor]:
        xr = rows(x.float() if x.dtype == torch.bfloat16 else x)  # statistics in bfloat16 would be none
        out, mean, var, inverse = norm_forward(xr, weight, bias, eps, reduce)
        ctx.save_for_backward(x, weight, mean, inverse)
        ctx.reduce = reduce
        ctx.mark_non_differentiable(mean, var)
        return grid(out, x).to(x.dtype), mean, var

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Any) -> Any:  # type: ignore[override]
        x, weight, mean, inverse = ctx.saved_tensors
        xr, dyr = rows(x).to(weight.dtype), rows(dy).to(weight.dtype)
        dx, d_weight, d_bias = norm_backward(xr, dyr, mean, inverse, weight, ctx.reduce, torch.zeros_like(mean))
        return grid(dx, x).to(x.dtype), d_weight, d_bias, None, None


class _ShardedNorm(nn.modules.batchnorm._BatchNorm):
    def forward(self, input: Tensor) -> Tensor:
        if not self.training or shards.current() is None:
            return super().forward(input)
        out, mean, var = _Normalise.apply(input, self.weight, self.bias, self.eps, reduce_over_shards(self))
        update_running(self, mean, var, input.numel() // input.shape[1])
        return out


class ShardedBatchNorm1d(_ShardedNorm, nn.BatchNorm1d): ...


class ShardedBatchNorm2d(_ShardedNorm, nn.BatchNorm2d): ...


class Pointwise(nn.Conv2d):
    """A 1x1 convolution."""

    def forward(self, input: Tensor) -> Tensor:
        if shards.current() is None:
            return super().forward(input)
        return F.linear(input.movedim(1, -1), self.weight.flatten(1), self.bias).movedim(-1, 1)


_NORMS = {nn.BatchNorm1d: ShardedBatchNorm1d, nn.BatchNorm2d: ShardedBatchNorm2d}


def prepare(net: nn.Module) -> None:
    """Make ``net`` one that shards can compute, in place.

    Raises:
        BadInput: a module needs the whole batch, or draws random numbers in no fixed order.
    """
    for name, module in net.named_modules():
        kind = type(module)
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            usual = module.affine and module.track_running_stats and module.momentum is not None
            if kind not in (*_NORMS, *_NORMS.values()) or not usual:
                raise BadInput(f"shards: {name} is a {kind.__name__}, which needs the whole batch; use 1 shard")
            module.__class__ = _NORMS.get(kind, kind)
        elif isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            raise BadInput(f"shards: {name} draws random numbers in no fixed order ({kind.__name__}); use 1 shard")
        elif type(module) is nn.Conv2d and _is_pointwise(module):
            module.__class__ = Pointwise


def _is_pointwise(conv: nn.Conv2d) -> bool:
    return conv.kernel_size == conv.stride == (1, 1) and conv.padding in ((0, 0), "same", "valid") and conv.groups == 1
