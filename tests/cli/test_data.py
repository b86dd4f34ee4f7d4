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


def test_own_clips_become_a_prepared_file_and_bad_ones_stop_it_or_are_left_out(tmp_path, capsys):
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in "abcd":
        np.save(folder / f"{name}.npy", np.random.default_rng(ord(name)).integers(0, 256, (30, 12, 16), np.uint8))
    (folder / "e.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(200))
    argv = ["data", "prepare", "clips", str(folder), "--size", "6", "8", "--split", "file", "--val", "1", "--test", "1"]
    argv += ["--gap", "0", "--licence", "CC0", "--out", str(tmp_path / "own.h5")]
    with pytest.raises(SystemExit) as left:
        main(argv)
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert "e.mp4" in error
    assert "take it out, or have bad files skipped" in error
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clips"]  # nothing half done
    with pytest.raises(SystemExit):  # of one file, nothing else could be left out
        main([*argv[:3], str(folder / "e.mp4"), *argv[4:]])
    assert "take it out" not in capsys.readouterr().err
    with pytest.raises(SystemExit) as left:
        main([*argv, "--bad", "skip"])
    assert left.value.code == 0
    said = capsys.readouterr()
    assert "left out:" in said.err
    assert "e.mp4" in said.err
    assert "120 frames of 6x8, 1 channels" in said.err
    for line in ("uint8 6x8, grey", "train: 2 clips, 60 frames", "test: 1 clips, 30 frames", "licence: CC0"):
        assert line in said.out
    with pytest.raises(SystemExit) as left:
        main(["data", "describe", str(tmp_path / "own.h5")])
    assert left.value.code == 0
    assert capsys.readouterr().out == said.out


def test_unknown_names_and_sources(tmp_path, capsys):
    for argv, match in (
        (["taxi", "x"], "did you mean 'taxibj'?"),
        (["kth", str(tmp_path / "no")], "no such file or folder"),
    ):
        with pytest.raises(SystemExit) as left:
            main(["data", "prepare", *argv])
        assert left.value.code == 2
        assert match in capsys.readouterr().err
