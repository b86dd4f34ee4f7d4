"""Shared by the tests: the golden files, and one thread, which on small tensors beats several that wait for each
other, by far where other programs keep the cores busy."""

from pathlib import Path

import numpy as np
import pytest
import torch

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True, scope="session")
def _threads():
    torch.set_num_threads(1)


@pytest.fixture
def golden():
    """Loader of a golden .npz by its name, as a dict of arrays."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(GOLDEN / f"{name}.npz") as file:
            return dict(file)

    return load
