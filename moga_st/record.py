"""Where a result comes from: time, commit, versions and hardware, for every record."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moga_st import __version__, dist


def provenance(device: torch.device) -> dict[str, Any]:
    """When, with what and on what: the part of a record that no config holds."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "git": git_state(),
        "versions": {
            "moga_st": __version__,
            "torch": torch.__version__,  # with the build, which the installed metadata leaves out
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "hardware": {
            "cpu": cpu_name(),
            "threads": torch.get_num_threads(),
            "device": str(device),
            "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
            "processes": dist.world(),
        },
    }


def git_state() -> dict[str, str] | None:
    """Commit and uncommitted changes of the checkout this package runs from; None for an installed one."""
    here = Path(__file__).parents[1]
    if not (here / ".git").exists():
        return None
    try:
        commit, diff = (
            subprocess.run(["git", "-C", here, *args], capture_output=True, text=True, check=True).stdout.strip()
            for args in (("rev-parse", "HEAD"), ("diff", "HEAD"))
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "diff": diff}


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"
