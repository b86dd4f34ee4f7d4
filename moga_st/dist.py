"""Everything that knows about ranks.  With one process every function here is a plain no-op.

The rule that makes 1 and N processes agree: random choices are drawn for the global batch from a
generator in the same state on every rank, then each rank keeps its own slice; batch statistics are taken
over the global batch; sums are reduced before they are divided.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as td
from torch import Tensor, nn

from moga_st import shards


def rank() -> int:
    return td.get_rank() if td.is_initialized() else 0


def world() -> int:
    return td.get_world_size() if td.is_initialized() else 1


def barrier() -> None:
    if td.is_initialized():
        td.barrier()


def shutdown() -> None:
    if td.is_initialized():
        td.destroy_process_group()


def local_slice(total: int) -> slice:
    """This rank's contiguous part of ``total`` items; sizes differ by at most one."""
    first, last = (total * r // world() for r in (rank(), rank() + 1))
    return slice(first, last)


def sum_over_ranks(x: Tensor) -> Tensor:
    """The elementwise sum of ``x`` over all ranks (``x`` itself with one process)."""
    if world() > 1:
        x = x.clone()
        td.all_reduce(x)
    return x


def max_over_ranks(value: float, device: torch.device) -> float:
    """The largest of the ranks' values: how ranks agree to save or to stop."""
    if world() == 1:
        return value
    x = torch.tensor(value, dtype=torch.float64, device=device)
    td.all_reduce(x, td.ReduceOp.MAX)
    return x.item()


def rand_over_global_batch(local: int, device: torch.device) -> Tensor:
    """Uniform draws, one an example: (local,).  Drawn for the global batch, then sliced by rank or shard."""
    if (here := shards.current()) is not None:
        return here[0].rand(here[1], local)
    draws = torch.rand(local * world(), device=device)
    return draws[rank() * local : (rank() + 1) * local]


class _DifferentiableSum(torch.autograd.Function):
    """The sum over ranks; every rank's loss depends on it, so its gradient is summed over ranks as well."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004 (torch's signature)
        return sum_over_ranks(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]  # noqa: ARG004
        return sum_over_ranks(gradient.contiguous())


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d whose training statistics are those of the global batch.

    torch's SyncBatchNorm does this on CUDA only; this one serves the CPU, where it makes a gloo run equal
    to the one-process run.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and world() > 1):
            return super().forward(input)
        x = input.float()  # under autocast, statistics in bfloat16 would be none
        channels = x.shape[1]
        count = x.numel() // channels * world()
        # two reductions, mean before variance: E[x^2] - E[x]^2 would cancel in float32
        mean = _DifferentiableSum.apply(x.sum((0, 2, 3))) / count
        var = _DifferentiableSum.apply((x - mean.view(1, -1, 1, 1)).square().sum((0, 2, 3))) / count
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (count / (count - 1)), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        scale = torch.rsqrt(var + self.eps) * self.weight
        shift = self.bias - mean * scale
        return (x * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)).to(input.dtype)


def synchronise_batch_norm(net: nn.Module, device: torch.device) -> nn.Module:
    """Make every BatchNorm2d of ``net`` normalise over the global batch (in place where it can)."""
    if world() == 1:
        return net
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(net)
    for module in net.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = GlobalBatchNorm2d
    return net


def wrap(net: nn.Module, device: torch.device) -> nn.Module:
    """The module to call in the training step: ``net`` itself, or DDP around it."""
    if world() == 1:
        return net
    ids: Any = [device.index] if device.type == "cuda" else None
    # buffers need no broadcast: global batch statistics are already the same on every rank
    return nn.parallel.DistributedDataParallel(net, device_ids=ids, broadcast_buffers=False)
