import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from moga_st import storage
from moga_st.errors import BadInput


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_link_is_replaced_and_what_it_names_is_untouched(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for target in (victim, tmp_path / "nothing"):
        link = tmp_path / "out.txt"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        storage.write_text(link, "new\r\n")
        assert not link.is_symlink()
        assert link.read_bytes() == b"new\r\n"
    assert victim.read_text() == "mine"
    assert names(tmp_path) == ["out.txt", "victim"]


def test_a_writer_that_puts_a_link_in_the_place_of_its_file_is_refused(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")

    def write(part: Path) -> None:
        part.unlink()
        part.symlink_to(victim)

    with pytest.raises(OSError, match="no ordinary file"):
        storage.write_atomically(tmp_path / "out", write)
    assert names(tmp_path) == ["victim"]
    assert victim.read_text() == "mine"


def test_folders_and_pipes_are_no_targets(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, said in (("pipe", "is a device, pipe or socket"), ("folder", "is a folder")):
        for write in (lambda p: storage.write_text(p, "x"), storage.lock_file, storage.open_log):
            with pytest.raises(BadInput, match=rf"{name}: {said}"):
                write(tmp_path / name)
    assert names(tmp_path) == ["folder", "pipe"]


def test_locks_and_logs_follow_no_link_and_cut_nothing(tmp_path):
    victim, link = tmp_path / "victim", tmp_path / "link"
    victim.write_text("mine")
    link.symlink_to(victim)
    for open_ in (storage.lock_file, storage.open_log):
        with pytest.raises(BadInput, match="link: is a link"):
            open_(link)
    with storage.open_log(victim) as file:
        file.write(" and more\n")
    with storage.lock_file(victim), pytest.raises(BlockingIOError):
        storage.lock_file(victim)
    with storage.lock_file(victim):
        assert victim.read_text() == "mine and more\n"


def test_folders_below_the_users_own_are_no_links(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "mine").symlink_to("elsewhere")
    assert storage.make_folder(tmp_path / "mine", "eval", "pictures").is_dir()  # the user's own choice
    (tmp_path / "mine" / "tensorboard").symlink_to(tmp_path)
    with pytest.raises(BadInput, match="tensorboard: is a link to another folder"):
        storage.make_folder(tmp_path / "mine", "tensorboard")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="file: is in the way of a folder"):
        storage.make_folder(tmp_path, "file")


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    code = (
        "import os, sys, pathlib; from moga_st import storage\n"
        "storage.write_atomically(pathlib.Path(sys.argv[1]), lambda part: (part.write_text('half'), os._exit(9)))"
    )
    out = tmp_path / "out.json"
    assert subprocess.run([sys.executable, "-c", code, out], check=False).returncode == 9
    [stray] = tmp_path.iterdir()
    assert stray.name.startswith(".out.json.")
    assert stray.name.endswith(".part.json")
    living = tmp_path / stray.name.replace(f"-{stray.name.split('-')[-2]}-", f"-{os.getppid()}-")
    living.write_text("another's")
    storage.write_json(out, {"x": 1})
    assert names(tmp_path) == sorted([living.name, "out.json"])


def test_a_full_disk_is_called_so_whatever_the_writer_raises(tmp_path, monkeypatch):
    def write(part: Path) -> None:
        part.write_text("half")
        raise RuntimeError("unexpected pos 64 vs 0")  # torch's words for it

    with pytest.raises(RuntimeError):
        storage.write_atomically(tmp_path / "out", write)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 0}))
    with pytest.raises(OSError, match="no space left") as raised:
        storage.write_atomically(tmp_path / "out", write)
    assert raised.value.errno == errno.ENOSPC
    assert raised.value.filename == str(tmp_path / "out")
    assert names(tmp_path) == []


def test_json_has_no_infinities(tmp_path):
    storage.write_json(tmp_path / "a.json", {"psnr": float("inf"), "x": [float("nan"), 1.5], "é": True})
    content = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(content, parse_constant=pytest.fail) == {"psnr": None, "x": [None, 1.5], "é": True}


def test_arrays_come_back(tmp_path):
    a, b = np.arange(6.0).reshape(2, 3), np.array(["x", "yy"])
    storage.save_npy(tmp_path / "a.npy", a)
    storage.save_npz(tmp_path / "b.npz", {"a": a, "b": b}, compress=True)
    assert names(tmp_path) == ["a.npy", "b.npz"]
    np.testing.assert_array_equal(storage.read_npy(tmp_path / "a.npy"), a)
    with np.load(tmp_path / "b.npz") as file:
        np.testing.assert_array_equal(file["a"], a)
        np.testing.assert_array_equal(file["b"], b)
    with pytest.raises(TypeError, match="o holds Python objects"):
        storage.save_npz(tmp_path / "c.npz", {"o": [None]})
