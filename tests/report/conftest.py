"""A tiny run, trained and evaluated once for all tests of the report."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from moga_st import recipes
from moga_st.cli import evaluate
from moga_st.engine import Runtime, train

RECIPE = Path(__file__).parents[1] / "tiny.py"


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder of runs with one run in it, which was evaluated, and a second one, which was not."""
    base = tmp_path_factory.mktemp("report")
    config = recipes.load(str(RECIPE))
    runtime = Runtime(device="cpu", data_root=base, runs=base / "runs", log_every=1)
    first = train(config, runtime)
    evaluate.run([str(first), "--recipe", str(RECIPE), "--device", "cpu", "--data-root", str(base)])

    other = dataclasses.replace(config, optim=dataclasses.replace(config.optim, lr=4e-3))
    return base, first, train(other, runtime)


@pytest.fixture
def runs(trained, tmp_path):
    """A copy of those: data root, evaluated run, the other run."""
    base, first, second = trained
    shutil.copytree(base / "runs", tmp_path / "runs")
    return tmp_path, *(tmp_path / "runs" / path.relative_to(base / "runs") for path in (first, second))
