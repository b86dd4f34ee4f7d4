import dataclasses
import importlib

import numpy as np
import pytest

from moga_st.cli import data, main
from moga_st.data.video.clip_windows import ClipWindows


def test_every_converter_has_flags_with_help():
    """``_flags`` reads the docstring: an argument that is not described there would raise here."""
    for name, module in data.CONVERTERS.items():
        flags = data._flags(name, importlib.import_module(module).prepare)
        names = [f.name for f in dataclasses.fields(flags)]
        assert names[0] == "source"
        assert names[-2:] == ["out", "data_root"]
        assert flags.__doc__
        with pytest.raises(SystemExit) as left:
            main(["data", "prepare", name, "--help"])
        assert left.value.code == 0


def test_a_published_file_becomes_a_prepared_one(tmp_path, capsys):
    made = np.random.default_rng(0).uniform(-1, 1, (30, 2, 8, 8)).astype(np.float32)
    samples = np.stack([made[i : i + 8] for i in range(23)])
    past, future = samples[:, :4], samples[:, 4:]
    np.savez(tmp_path / "dataset.npz", X_train=past, Y_train=future, X_test=past[:3], Y_test=future[:3])
    argv = ["data", "prepare", "taxibj", str(tmp_path / "dataset.npz"), "--data-root", str(tmp_path)]
    with pytest.raises(SystemExit) as left:
        main(argv)
    assert left.value.code == 0
    out = capsys.readouterr().out
    assert "float32 8x8, inflow, outflow" in out
    assert "test: 1 clips, 10 frames, 3 windows listed" in out
    windows = ClipWindows(tmp_path / "taxibj.h5", 4, 4)
    assert (windows.count("train"), windows.count("test")) == (14, 3)
    with pytest.raises(SystemExit) as left:
        main(argv)  # it is there now
    assert left.value.code == 2
    assert "exists already" in capsys.readouterr().err


def test_unknown_names_and_sources(tmp_path, capsys):
    for argv, match in (
        (["taxi", "x"], "did you mean 'taxibj'?"),
        (["kth", str(tmp_path / "no")], "no such file or folder"),
    ):
        with pytest.raises(SystemExit) as left:
            main(["data", "prepare", *argv])
        assert left.value.code == 2
        assert match in capsys.readouterr().err
