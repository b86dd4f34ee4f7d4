"""Everything that knows about ranks.  With one process every function here is a plain no-op.

The rule that makes 1 and N processes agree: random choices are drawn for the global batch from a
generator in the same state on every rank, then each rank keeps its own slice; batch statistics are taken
over the global batch; sums are reduced before they are divided.
"""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Any

import torch
import torch.distributed as td
from torch import Tensor, nn

from moga_st.config import BadInput


def setup(device: str = "auto") -> torch.device:
    """Pick the device and, under ``torchrun``, join the process group (gloo on the CPU, NCCL on CUDA).

    Args:
        device: "auto" (CUDA where there is one, else the CPU), "cpu", "cuda" or "cuda:N".

    Raises:
        BadInput: CUDA was asked for and there is none, or the name is not a device.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise BadInput(f"--device {device}: not a device; use auto, cpu, cuda or cuda:N") from error
    if chosen.type not in ("cpu", "cuda"):
        raise BadInput(f"--device {device}: not supported; use auto, cpu, cuda or cuda:N")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise BadInput(f"--device {device}: this machine has no usable CUDA device; use --device cpu")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise BadInput(f"--device {device}: this machine has {torch.cuda.device_count()} CUDA devices, counted from 0")
    if chosen.type == "cpu":
        keep_freed_memory()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        if chosen.type == "cuda":
            chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(chosen)
        if not td.is_initialized():
            td.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return chosen


def keep_freed_memory() -> None:
    """Let glibc's malloc keep what is freed instead of giving it back to the system.

    Every step frees and takes the same large blocks; each time they come back from the system, every 4 KB of
    them costs a page fault, which together can take as long as the arithmetic.  A no-op with another C library.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h
        libc.mallopt(M_TRIM_THRESHOLD, -1)  # never shrink the heap
        libc.mallopt(M_MMAP_MAX, 0)  # large blocks too come from the heap


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
    """Uniform draws, one an example: (local,).  Drawn for the global batch, then sliced by rank."""
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
