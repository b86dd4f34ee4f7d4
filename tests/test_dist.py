import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = """
import resource, torch
from moga_st import device
if {keep}:
    device.setup("cpu")
def faults(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        torch.ones(10, 1 << 20)  # 40 MB: more than malloc keeps of itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(9)  # the heap grows first
print(faults(5))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that gives memory back")
def test_a_run_on_the_cpu_does_not_fault_its_memory_in_anew_every_step():
    def faults(keep: bool) -> int:
        code = FAULTS.format(keep=keep)
        env = os.environ | {"THP_MEM_ALLOC_ENABLE": "0"}  # huge pages, which the command line asks for, have few faults
        run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=env)
        return int(run.stdout)

    pages = 5 * (40 << 20) // 4096
    assert faults(keep=True) < pages // 20
    huge = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not (huge.exists() and "[always]" in huge.read_text()):  # with pages of 2 MB there are few faults to avoid
        assert faults(keep=False) > pages // 2
