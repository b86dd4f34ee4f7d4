import numpy as np
from PIL import Image

from moga_st.data.video.clips import open_clip
from moga_st.draw.video import CAPTION, GAP, MARGIN, save_prediction, save_video


def test_the_strip_and_the_gif_show_the_frames_where_they_belong(tmp_path):
    rng = np.random.default_rng(0)
    past, true = rng.random((3, 1, 64, 64)), rng.random((2, 1, 64, 64))
    pred = true.copy()
    pred[1, 0, :32] = 1.0  # too bright above
    pred[1, 0, 32:] = 0.0  # too dark below
    png, gif = save_prediction(tmp_path / "a", past, pred, true, "title")
    strip = np.array(Image.open(png).convert("RGB"))

    def cell(row: int, column: int) -> np.ndarray:
        y, x = CAPTION + row * (64 + GAP), MARGIN + column * (64 + GAP)
        return strip[y : y + 64, x : x + 64]

    for row, frames in enumerate((past, true, pred)):
        for column, frame in enumerate(frames):
            np.testing.assert_array_equal(cell(row, column)[..., 1], (frame[0] * 255).round())
    assert (cell(3, 0) == 255).all()  # no error: white
    bright, dark = cell(3, 1)[:32].reshape(-1, 3), cell(3, 1)[32:].reshape(-1, 3)
    assert (bright[:, 0] == 255).all()
    assert (dark[:, 2] == 255).all()
    assert bright[:, 2].mean() < 200
    assert dark[:, 0].mean() < 200
    with Image.open(gif) as image:
        assert image.n_frames == 5
        assert image.size == (3 * (128 + GAP) - GAP, 128 + 2 * CAPTION)  # 64 px doubled, three panels


def test_without_truth_there_is_no_error_to_show(tmp_path):
    past, pred = np.zeros((2, 3, 32, 32)), np.ones((4, 3, 32, 32))
    png, gif = save_prediction(tmp_path / "a", past, pred)
    strip = np.array(Image.open(png).convert("RGB"))
    assert strip.shape == (2 * (64 + GAP), MARGIN + 4 * (64 + GAP), 3)  # two rows, small frames doubled
    assert (strip[64 + GAP : 128 + GAP, MARGIN : MARGIN + 64] == 255).all()
    with Image.open(gif) as image:
        assert image.n_frames == 6


def test_large_frames_are_drawn_smaller_and_written_as_they_are(tmp_path):
    rng = np.random.default_rng(0)
    frames = rng.random((2, 3, 540, 961)).round()
    png, gif = save_prediction(tmp_path / "a", frames, frames[:1], frames[:1], "title")
    strip = np.array(Image.open(png).convert("RGB"))
    assert strip.shape == (CAPTION + 4 * (144 + GAP), MARGIN + 2 * (256 + GAP), 3)
    mean = strip[CAPTION : CAPTION + 144, MARGIN : MARGIN + 256].mean()
    assert abs(mean - 255 * frames[0].mean()) < 2  # every pixel counts
    with Image.open(gif) as image:
        assert image.size == (3 * (480 + GAP) - GAP, 270 + 2 * CAPTION)
    save_video(tmp_path / "a.mp4", iter(frames), 5.0)
    clip = open_clip(tmp_path / "a.mp4")
    assert (clip.size_px, clip.frames, clip.fps) == ((962, 540), 2, 5.0)
