import errno

import numpy as np
import pytest
from PIL import Image

from moga_st.data.video.clips import open_clip
from moga_st.draw.files import save_gif, save_mp4, save_png
from moga_st.errors import BadInput

FRAMES = [np.full((32, 48, 3), 40 * i, np.uint8) for i in range(5)]
PICTURES = [Image.fromarray(f) for f in FRAMES]
SAVE = {
    "png": lambda path: save_png(path, PICTURES[0]),
    "gif": lambda path: save_gif(path, PICTURES, 100),
    "mp4": lambda path: save_mp4(path, FRAMES, 25.0, 10),
}


@pytest.mark.parametrize("kind", SAVE)
def test_a_link_is_replaced_and_not_followed(kind, tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "out" / f"a.{kind}"
    victim.write_text("mine")
    path.parent.mkdir()
    path.symlink_to(victim)
    SAVE[kind](path)
    assert victim.read_text() == "mine"
    assert not path.is_symlink()
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_video_has_its_frames_and_rate(tmp_path):
    save_mp4(tmp_path / "a.mp4", iter(FRAMES), 25.0, 10)
    clip = open_clip(tmp_path / "a.mp4")
    assert (clip.frames, clip.fps) == (5, 25.0)
    for read, frame in zip(clip.read(), FRAMES, strict=True):
        assert np.abs(read.astype(int) - frame).max() <= 3


def test_frames_that_fail_leave_no_video(tmp_path):
    def frames():
        yield FRAMES[0]
        raise BadInput("no more")

    with pytest.raises(BadInput, match="no more"):
        save_mp4(tmp_path / "a.mp4", frames(), 25.0, 10)
    assert not list(tmp_path.iterdir())


def test_what_ffmpeg_cannot_write_is_an_error_and_not_half_a_video(tmp_path, capfd):
    with pytest.raises(OSError, match="divisible") as raised:
        save_mp4(tmp_path / "a.mp4", [np.zeros((31, 47, 3), np.uint8)], 25.0, 10)  # odd sides
    assert raised.value.errno == errno.EIO
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr().err == ""
