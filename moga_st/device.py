"""Where it runs: the device, its memory and its arithmetic."""

from __future__ import annotations

import ctypes
import os
import platform

import torch
import torch.distributed as td

from moga_st.config import launched
from moga_st.errors import BadInput


def setup(device: str = "auto") -> torch.device:
    """Pick the device and, under ``torchrun``, join the process group (gloo on the CPU, NCCL on CUDA).

    Args:
        device: "auto" (CUDA where there is one, else Metal, else the CPU), "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        BadInput: CUDA was asked for and there is none, or the name is not a device.
    """
    if device == "auto":
        mps = torch.backends.mps.is_available()
        device = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise BadInput(f"device {device}: not a device; expected auto, cpu, cuda, cuda:N or mps") from error
    if chosen.type not in ("cpu", "cuda", "mps"):
        raise BadInput(f"device {device}: not supported; expected auto, cpu, cuda, cuda:N or mps")
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise BadInput(f"device {device}: this machine has no Metal device; take cpu")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise BadInput(f"device {device}: this machine has no usable CUDA device; take cpu")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise BadInput(f"device {device}: this machine has {torch.cuda.device_count()} CUDA devices, counted from 0")
    if chosen.type == "cpu":
        keep_freed_memory()
    if launched() and int(os.environ["WORLD_SIZE"]) > 1:
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
        M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # of malloc.h
        libc.mallopt(M_TRIM_THRESHOLD, -1)  # never shrink the heap
        libc.mallopt(M_MMAP_MAX, 0)  # large blocks too come from the heap
        libc.mallopt(M_ARENA_MAX, 1)  # and those of other threads, whose own heaps are small and given back when empty


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the hardware has instructions for products of bfloat16 (AVX512-BF16, AMX; GPUs as of Ampere)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def has_amx(device: torch.device) -> bool:
    """Whether products of bfloat16 go through AMX, where torch 2.11's own convolutions write beyond their memory (two
    threads, 4 sequences of the 46.8 M model, and in a benchmark of it in shards), to gain 5 % at most."""
    return device.type == "cpu" and torch.cpu._is_amx_tile_supported()


def autocast(precision: str, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
