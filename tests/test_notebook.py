"""The notebooks run as they are, in a kernel of their own, and show pictures.

`make test-notebook` runs them, and fails without nbclient; the whole suite leaves them to it, since they train.
"""

import base64
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

if not os.environ.get("MOGA_ST_NOTEBOOK"):
    pytest.skip("`make test-notebook` runs these", allow_module_level=True)
import nbformat  # here alone must Jupyter's parts be installed
from nbclient import NotebookClient

pytestmark = pytest.mark.filterwarnings("ignore")  # Jupyter's parts warn of what they themselves use
NOTEBOOKS = sorted((Path(__file__).parent.parent / "examples").glob("*.ipynb"))


def kernel_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel by the name that notebooks ask for, of this Python, with nothing of the user's own settings."""
    spec = folder / "kernels" / "python3"
    spec.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "here"}))
    monkeypatch.setenv("JUPYTER_PATH", str(folder))
    monkeypatch.setenv("JUPYTER_NO_CONFIG", "1")
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_notebook_runs_and_shows_pictures(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kernel_here(tmp_path / "jupyter", monkeypatch)
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit notebooks without their outputs"
    empty = tmp_path / "empty"
    empty.mkdir()
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(empty)}}).execute()
    shown = [out for cell in notebook.cells for out in cell.get("outputs", []) if "image/png" in out.get("data", {})]
    assert len(shown) >= 6
    for out in shown:
        picture = Image.open(io.BytesIO(base64.b64decode(out["data"]["image/png"])))
        assert len(np.unique(np.asarray(picture.convert("L")))) > 4
    assert list(empty.iterdir()) == []  # it leaves nothing where it runs


def test_there_is_one():
    assert NOTEBOOKS
