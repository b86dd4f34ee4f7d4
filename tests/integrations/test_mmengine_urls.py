"""Checkpoints that mmengine downloads."""

import functools
import http.server
import importlib
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("mmpose", reason="mmpose is not installed: pip install 'moga-st[mmpose]'")


class Attack:
    def __reduce__(self):
        return (Path.write_text, (Path("attacked"), "yes"))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder that is served on 127.0.0.1; its address."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    (tmp_path / "served").mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path / "served", f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_what_is_downloaded_runs_no_code(place):
    loader: Any = importlib.import_module("mmengine.runner.checkpoint").CheckpointLoader

    from moga_st.integrations import mmpose

    mmpose.register()
    folder, address = place
    torch.save({"state_dict": {"w": torch.arange(3.0)}}, folder / "good.pth")
    torch.save({"state_dict": {"w": Attack()}}, folder / "bad.pth")
    loaded = loader.load_checkpoint(f"{address}/good.pth", map_location="cpu")
    torch.testing.assert_close(loaded["state_dict"]["w"], torch.arange(3.0))
    with pytest.raises(pickle.UnpicklingError):
        loader.load_checkpoint(f"{address}/bad.pth", map_location="cpu")
    assert not Path("attacked").exists()
