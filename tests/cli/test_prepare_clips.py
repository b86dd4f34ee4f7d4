"""`moga-st data prepare clips` as a user runs it."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from numpy.lib.format import write_array_header_1_0

from moga_st.data.video.prepared_clips import read_attributes
from tests.test_cli import run as verb

WAITS = """
import pathlib, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background a shell has it ignored
from moga_st.cli import main
from moga_st.data.video import prepare
frames_of = prepare._frames
def slow(*arguments):
    for i, frame in enumerate(frames_of(*arguments)):
        if i == 100:
            pathlib.Path("waits").touch()
            time.sleep(600)
        yield frame
prepare._frames = slow
main(sys.argv[1:])
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_ended_leaves_nothing_under_the_name_and_the_next_one_works(tmp_path, capsys, end):
    long = tmp_path / "long.npy"
    with long.open("wb") as file:  # 80 MB of zeros that take no room
        write_array_header_1_0(file, {"shape": (200, 632, 632, 1), "fortran_order": False, "descr": "|u1"})
        file.truncate(file.tell() + 200 * 632 * 632)
    out = tmp_path / "made" / "clips.h5"
    command = [sys.executable, "-c", WAITS, "data", "prepare", "clips", str(long), "--out", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as run:
        while run.poll() is None and not (tmp_path / "waits").exists():
            time.sleep(0.01)
        assert run.poll() is None  # it is in the middle
        assert max(p.stat().st_size for p in out.parent.iterdir()) > 5e6
        run.send_signal(end)
        assert run.stderr is not None
        said = run.stderr.read()
    assert not out.exists()
    left = list(out.parent.iterdir())
    if end == signal.SIGINT:
        assert run.returncode == 130
        assert "Traceback" not in said
        assert not left
    np.save(long, np.random.default_rng(0).integers(0, 256, (200, 8, 8), np.uint8))
    assert verb(capsys, "data", "prepare", "clips", long, "--out", out)[0] == 0
    assert read_attributes(out)["source"].startswith("1 clips of long.npy")
    assert list(out.parent.iterdir()) == [out]  # what the killed one left is gone
