"""What a command imports before it works: most of a short command's time."""

import subprocess
import sys

import pytest

SLOW = {"torch._dynamo", "torch._inductor", "sympy", "skimage.transform", "scipy.stats", "matplotlib", "torchvision"}
PREDICT = """
import torch
from moga_st import load_model
from moga_st.infer import predict
load_model("mmnist_compact")(torch.zeros(1, 10, 1, 64, 64))
"""
LIFT = """
import torch
from moga_st import load_model
from moga_st.draw import pose
from moga_st.infer import lift
load_model("lifter_xs_27f")(torch.zeros(1, 27, 17, 3))
"""


def imported_by(code: str) -> set[str]:
    code += "\nimport sys; print(*sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(run.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("code", [PREDICT, LIFT])
def test_inference_does_not_import_the_compiler_nor_what_only_other_inputs_need(code):
    modules = imported_by(code)
    assert "torch" in modules
    assert not modules & SLOW


def test_help_imports_neither_torch_nor_numpy():
    modules = imported_by("from moga_st.cli.main import usage\nusage()")
    assert "moga_st.cli.main" in modules
    assert not modules & {"torch", "numpy", "tyro"}
