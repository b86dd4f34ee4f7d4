"""What a command imports before it works: most of a short command's time."""

import subprocess
import sys

import pytest

SLOW = {"torch._dynamo", "torch._inductor", "sympy", "skimage.transform", "scipy.stats", "matplotlib", "torchvision"}
SLOW |= {"onnx", "onnxscript", "onnxruntime", "openvino", "timm", "xarray", "lpips", "moga_st.engine", "scipy.spatial"}
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
from moga_st.infer import lift, lift_files, scene
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


@pytest.mark.parametrize("verb", ["predict", "lift", "classify", "export", "convert"])
def test_the_help_of_a_verb_does_not_import_torch(verb):
    modules = imported_by(f"from moga_st.cli.main import _run\n_run({verb!r}, ['--help'])")
    assert "tyro" in modules
    assert "torch" not in modules


def test_an_unknown_flag_is_refused_before_the_compiler_comes_in():
    modules = imported_by("from moga_st.cli.main import _run\nassert _run('bench', ['mmnist_demo', '--unknown']) == 2")
    assert "moga_st.engine" in modules
    assert not modules & {"torch._dynamo", "torch._inductor", "sympy"}
