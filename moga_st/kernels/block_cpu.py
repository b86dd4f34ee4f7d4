"""A Moga block on one thread of a CPU, a shard of its batch, written out: forward and backward.

Autograd makes some forty passes over memory of each half of a block beside its products of matrices, and on a CPU these
take as long as the products.  Most go away on paper.  A feature map in channels-last is a matrix (m, c) whose rows are
positions, and a 1x1 convolution one product.  Scales around a product are scales of its weights, which are small; what
has a single channel (``decompose``) or a single position (the mean over the map) enters as a product of vectors.
Results are those of the modules within rounding.

Shape legend: ``b`` examples of this shard, ``m`` = b h w positions, ``c`` channels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from moga_st import kernels, shards
from moga_st.kernels import orders_cpu
from moga_st.kernels.depthwise_cpu import convolve, gradients
from moga_st.kernels.sharded import Reduce, grid, norm_backward, norm_forward, reduce_over_shards, rows, update_running


def serves(double_silu: bool) -> bool:
    """Whether this thread is a shard, in float32, of a block as video models and the lifter have it."""
    return shards.current() is not None and kernels.enabled and not (double_silu or torch.is_autocast_enabled("cpu"))


def spatial(x: Tensor, block: Any) -> Tensor:
    """``x + drop_path(scale1 * spatial(norm1(x)))`` of a Moga block in training: (b, c, h, w) -> (b, c, h, w)."""
    norm, a, value = block.norm1, block.spatial, block.spatial.value
    convs = (value.dw_low, value.dw_middle, value.dw_high, value.mix, a.proj_out)
    parameters = [a.proj_in.weight, a.proj_in.bias, a.sigma, a.gate.weight, a.gate.bias]
    parameters += [p for conv in convs for p in (conv.weight, conv.bias)]
    out, mean, var = Spatial.apply(
        _channels_last(x), _of_rows(block.drop_path.factors(x), x), norm.eps, reduce_over_shards(norm),
        norm.weight, norm.bias, *parameters, block.scale1,
    )  # fmt: skip
    update_running(norm, mean, var, x.numel() // x.shape[1])
    return out


def channel(x: Tensor, block: Any) -> Tensor:
    """``x + drop_path(scale2 * channel(norm2(x)))`` of a Moga block in training: (b, c, h, w) -> (b, c, h, w)."""
    norm, f = block.norm2, block.channel
    convs = (f.expand, f.dw, f.decompose)
    parameters = [p for conv in convs for p in (conv.weight, conv.bias)]
    out, mean, var = Channel.apply(
        _channels_last(x), _of_rows(block.drop_path.factors(x), x), norm.eps, reduce_over_shards(norm),
        norm.weight, norm.bias, *parameters, f.sigma, f.reduce.weight, f.reduce.bias, block.scale2,
    )  # fmt: skip
    update_running(norm, mean, var, x.numel() // x.shape[1])
    return out


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _of_rows(factors: Tensor | None, x: Tensor) -> Tensor | None:
    """(b,) -> (m, 1)."""
    return None if factors is None else factors.repeat_interleave(x[0, 0].numel())[:, None]


class Channel(torch.autograd.Function):
    """``x + keep scale F(BN(x))`` with F the channel aggregation FFN: (b, c, h, w) -> (b, c, h, w), mean, var."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, keep: Tensor | None, eps: float, reduce: Reduce,
        norm_w: Tensor, norm_b: Tensor, expand_w: Tensor, expand_b: Tensor, dw_w: Tensor, dw_b: Tensor,
        decompose_w: Tensor, decompose_b: Tensor, sigma: Tensor, reduce_w: Tensor, reduce_b: Tensor, scale: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        xr = rows(x)
        n, mean, var, inverse = norm_forward(xr, norm_w, norm_b, eps, reduce)
        before = grid(torch.addmm(expand_b, n, expand_w.flatten(1).t()), x)
        after = convolve(before, dw_w, dw_b, 1)
        g = F.gelu(rows(after))
        z = torch.addmv(decompose_b, g, decompose_w.flatten())
        one = F.gelu(z)
        # reduce(g + sigma (g - one)) = g (W (1 + sigma))' - one (W sigma)'
        matrix, s, sig = reduce_w.flatten(1), scale.flatten(), sigma.flatten()
        folded = matrix * (1 + sig) * s[:, None]
        out = torch.addmm(reduce_b * s, g, folded.t()).addr_(one, (matrix @ sig).mul_(s), alpha=-1)
        if keep is not None:
            out *= keep
        ctx.save_for_backward(
            xr, n, mean, inverse, before, after, g, z, one, folded, keep, norm_w, expand_w, dw_w,
            decompose_w, sigma, reduce_w, reduce_b, scale,
        )  # fmt: skip
        ctx.reduce = reduce
        ctx.mark_non_differentiable(mean, var)
        return grid(out.add_(xr), x), mean, var

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Any) -> Any:  # type: ignore[override]
        (
            xr, n, mean, inverse, before, after, g, z, one, folded, keep, norm_w, expand_w, dw_w, decompose_w, sigma,
            reduce_w, reduce_b, scale,
        ) = ctx.saved_tensors  # fmt: skip
        dyr = rows(dy)
        dt = dyr if keep is None else dyr * keep
        matrix, s, sig, decompose = reduce_w.flatten(1), scale.flatten(), sigma.flatten(), decompose_w.flatten()
        inner = matrix @ sig
        total = dt.sum(0)
        dz = torch.ops.aten.gelu_backward(torch.mv(dt, inner * s).neg_(), z)
        both = torch.cat([dt, dz[:, None]], 1)
        dg = both @ torch.cat([folded, decompose[None]])
        d_both = both.t() @ g
        d_folded, d_decompose = d_both[:-1], d_both[-1]
        d_inner = torch.mv(dt.t(), one).neg_()
        d_scale = ((d_folded * matrix) @ (1 + sig)).addcmul_(inner, d_inner).addcmul_(reduce_b, total)
        pushed = d_folded * s[:, None]
        d_sigma = (pushed * matrix).sum(0).addmv_(matrix.t(), d_inner * s)
        d_reduce = pushed.mul_(1 + sig).addr_(d_inner * s, sig)
        dg = torch.ops.aten.gelu_backward(dg, rows(after))
        d_after = grid(dg, dy)
        d_before, d_dw, d_dw_b = gradients(d_after, before, dw_w, 1)
        db = rows(d_before)
        dn = db @ expand_w.flatten(1)
        d_expand, d_expand_b = db.t() @ n, db.sum(0)
        dx, d_norm_w, d_norm_b = norm_backward(xr, dn, mean, inverse, norm_w, ctx.reduce, dyr)
        return (
            grid(dx, dy), None, None, None, d_norm_w, d_norm_b, d_expand.view_as(expand_w), d_expand_b, d_dw, d_dw_b,
            d_decompose.view_as(decompose_w), dz.sum()[None], d_sigma.view_as(sigma), d_reduce.view_as(reduce_w),
            total * s, d_scale.view_as(scale),
        )  # fmt: skip


class Spatial(torch.autograd.Function):
    """``x + keep scale A(BN(x))`` with A the multi-order gated aggregation: (b, c, h, w) -> the same, mean, var."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, keep: Tensor | None, eps: float, reduce: Reduce,
        norm_w: Tensor, norm_b: Tensor, in_w: Tensor, in_b: Tensor, sigma: Tensor, gate_w: Tensor, gate_b: Tensor,
        low_w: Tensor, low_b: Tensor, middle_w: Tensor, middle_b: Tensor, high_w: Tensor, high_b: Tensor,
        mix_w: Tensor, mix_b: Tensor, out_w: Tensor, out_b: Tensor, scale: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        xr, b = rows(x), len(x)
        n, mean, var, inverse = norm_forward(xr, norm_w, norm_b, eps, reduce)
        sig, s = sigma.flatten(), scale.flatten()
        # p + sigma (p - mean(p)), p = n W' + bias: the weights take 1 + sigma, and the mean of p is that of n, mapped
        mean_n = n.view(b, -1, n.shape[1]).mean(1)
        w_in = in_w.flatten(1)
        mean_p = torch.addmm(in_b, mean_n, w_in.t())
        w_in_folded = w_in * (1 + sig)[:, None]
        e = torch.addmm(in_b * (1 + sig), n, w_in_folded.t())
        e.view(b, -1, e.shape[1]).sub_((mean_p * sig)[:, None])
        a = F.silu(e)
        gate = torch.addmm(gate_b, a, gate_w.flatten(1).t())
        weights = orders_cpu.Weights(low_w, low_b, middle_w, middle_b, high_w, high_b)
        way = orders_cpu.way(x)
        orders, of_orders = way.forward(a, x, weights)
        value = torch.addmm(mix_b, orders, mix_w.flatten(1).t())
        gate_s, value_s = F.silu(gate), F.silu(value)
        product = gate_s * value_s
        w_out = out_w.flatten(1) * s[:, None]
        out = torch.addmm(out_b * s, product, w_out.t()).addcmul_(n, s)
        if keep is not None:
            out *= keep
        ctx.save_for_backward(
            xr, n, mean, inverse, mean_n, mean_p, e, a, gate, value, gate_s, value_s, product, orders,
            keep, w_in_folded, w_out, norm_w, in_w, in_b, sigma, gate_w, mix_w, out_w, out_b, scale,
            *weights, *of_orders,
        )  # fmt: skip
        ctx.reduce, ctx.way = reduce, way
        ctx.mark_non_differentiable(mean, var)
        return grid(out.add_(xr), x), mean, var

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Any) -> Any:  # type: ignore[override]
        (
            xr, n, mean, inverse, mean_n, mean_p, e, a, gate, value, gate_s, value_s, product, orders,
            keep, w_in_folded, w_out, norm_w, in_w, in_b, sigma, gate_w, mix_w, out_w, out_b, scale,
            *others,
        ) = ctx.saved_tensors  # fmt: skip
        dyr, b = rows(dy), len(dy)
        dt = dyr if keep is None else dyr * keep
        sig, s = sigma.flatten(), scale.flatten()
        total = dt.sum(0)
        d_out = dt.t() @ product
        d_scale = (d_out * out_w.flatten(1)).sum(1).addcmul_(out_b, total).add_((dt * n).sum(0))
        dn = dt * s
        dp = dt @ w_out
        d_gate = torch.ops.aten.silu_backward(dp * value_s, gate)
        d_value = torch.ops.aten.silu_backward(dp.mul_(gate_s), value)
        weights = orders_cpu.Weights(*others[:6])
        da, d_orders = ctx.way.backward(d_value, mix_w.flatten(1), others[6:], weights)
        da = torch.addmm(da, d_gate, gate_w.flatten(1))
        de = torch.ops.aten.silu_backward(da, e)
        de_of = de.view(b, -1, de.shape[1]).sum(1)
        d_in, de_total = de.t() @ n, de_of.sum(0)
        w_in = in_w.flatten(1)
        d_mean_p = de_of * -sig
        d_sigma = (d_in * w_in).sum(1).addcmul_(in_b, de_total).sub_((mean_p * de_of).sum(0))
        d_in = d_in.mul_((1 + sig)[:, None]).addmm_(d_mean_p.t(), mean_n)
        dn.addmm_(de, w_in_folded)
        dn.view(b, -1, dn.shape[1]).add_((d_mean_p @ w_in)[:, None] / (len(dn) // b))
        dx, d_norm_w, d_norm_b = norm_backward(xr, dn, mean, inverse, norm_w, ctx.reduce, dyr)
        return (
            grid(dx, dy), None, None, None, d_norm_w, d_norm_b, d_in.view_as(in_w),
            (1 + sig) * de_total + d_mean_p.sum(0), d_sigma.view_as(sigma),
            (d_gate.t() @ a).view_as(gate_w), d_gate.sum(0), *d_orders,
            (d_value.t() @ orders).view_as(mix_w), d_value.sum(0), (d_out * s[:, None]).view_as(out_w), total * s,
            d_scale.view_as(scale),
        )  # fmt: skip
