"""People in frames by MediaPipe, with its own networks.  Without the extra, only what needs none runs."""

import importlib.util
import json
import time

import imageio.v3 as iio
import numpy as np
import pytest
import skimage.data

from moga_st.data.pose.skeleton import MEDIAPIPE33
from moga_st.errors import BadInput
from moga_st.integrations.mediapipe import PeopleFinder, apart, box_around, distinct, seen_again, tiles
from tests.test_cli import run

needs_mediapipe = pytest.mark.skipif(
    importlib.util.find_spec("mediapipe") is None,
    reason="MediaPipe is not installed: pip install 'moga-st[video-pose]'",
)


def body(x: float, y: float, size: float, seed: int = 0) -> np.ndarray:
    """33 landmarks in a box of that height at (x, y)."""
    points = np.random.default_rng(seed).uniform(0, 1, (33, 3))
    points[0, :2], points[1, :2] = (0, 0), (1, 1)
    return points * (size / 2, size, 1) + (x, y, 0)


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (1080, 1920), (768, 576), (100, 90), (3000, 200)])
def test_a_person_of_any_size_that_is_looked_for_lies_whole_in_a_tile(width, height):
    boxes = tiles(width, height)
    assert len(boxes) == len(set(boxes))
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
    sides = {right - left for left, top, right, bottom in boxes[1:] if right - left == bottom - top}
    rng = np.random.default_rng(0)
    for side in sides:
        for x, y in rng.uniform(0, 1, (200, 2)) * (width - side / 2, height - side / 2):  # half a tile large
            assert any(
                a <= x and b <= y and x + side / 2 <= c and y + side / 2 <= d
                for a, b, c, d in boxes
                if c - a == side and d - b == side
            ), (side, x, y)


def test_one_person_found_twice_is_one_and_neighbours_are_two():
    one = body(100, 100, 200)
    shifted = one + np.array([10, -8, 0])
    mirrored = body(100, 100, 200, seed=1)  # other places in the same box, as where left and right are confused
    beside = body(210, 100, 200)
    kept = distinct([one, shifted, mirrored, beside])
    assert len(kept) == 2
    assert kept[0] is one
    assert kept[1] is beside
    assert apart(one, shifted) == pytest.approx(np.hypot(10, 8) / 200)
    assert apart(one, beside) == pytest.approx(110 / 200)


def test_the_crop_holds_the_person_with_a_margin_and_lies_in_the_image():
    left, top, right, bottom = box_around(body(400, 300, 200), 1000, 800)
    assert (right - left, bottom - top) == (340, 340)
    assert (left + right) // 2 == 450
    assert (top + bottom) // 2 == 400
    assert box_around(body(-50, -50, 200), 1000, 800)[:2] == (0, 0)
    assert box_around(body(5000, 0, 200), 1000, 800) == (0, 0, 1000, 800)  # who has left it is nowhere


def test_who_is_new_must_be_seen_twice_more_at_one_place():
    """A tile may cut a person, so the first of the two may lie elsewhere; what the next no longer shows is nobody."""
    cut, whole, near, elsewhere = body(400, 300, 80), body(400, 300, 200), body(410, 300, 200), body(500, 300, 200)
    for answers, expected in (
        ([whole, near], whole),
        ([None], None),
        ([whole, None], None),
        ([whole, elsewhere], None),
    ):
        boxes, left = [], iter(answers)

        def find(box, boxes=boxes, left=left):
            boxes.append(box)
            return next(left)

        assert seen_again(find, cut, 1000, 800) is expected
        assert boxes == [box_around(p, 1000, 800) for p in (cut, whole)][: len(answers)]


def test_without_mediapipe_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mediapipe", None)
    with pytest.raises(BadInput, match="video-pose") as error:
        PeopleFinder()
    assert "\n" not in str(error.value)
    with pytest.raises(BadInput, match="must be positive"):
        PeopleFinder(fps=0)


@needs_mediapipe
def test_the_same_person_at_two_places_is_found_twice_at_the_offset():
    """A photograph that scikit-image brings, pasted twice: MediaPipe alone finds one person an image."""
    portrait = skimage.data.astronaut()[:, 60:400]
    frame = np.full((600, 1200, 3), 255, np.uint8)
    frame[40 : 40 + 512, 60:400] = portrait
    frame[60 : 60 + 512, 760:1100] = portrait
    finder = PeopleFinder(people=4)
    people = finder(frame)
    assert people.shape == (2, 33, 3)
    left, right = sorted(people, key=lambda p: p[0, 0])
    face = [MEDIAPIPE33.joints.index(name) for name in ("Nose", "LEye", "REye", "LShoulder", "RShoulder")]
    offset = right[face, :2] - left[face, :2]
    np.testing.assert_allclose(offset, np.broadcast_to((700, 20), offset.shape), atol=20)
    assert left[MEDIAPIPE33.joints.index("LEye"), 0] > left[MEDIAPIPE33.joints.index("REye"), 0]  # she faces the camera
    assert (people[:, face, 2] > 0.8).all()
    # in the next frame, moved by 10 pixels, they are followed, in the same order
    again = finder(np.roll(frame, 10, axis=1))
    eyes = face[:3]  # the crop is another one, in which shoulders at its edge are less sure
    np.testing.assert_allclose(again[:, eyes, :2], people[:, eyes, :2] + (10, 0), atol=20)


@needs_mediapipe
def test_nobody_is_found_where_nobody_is():
    assert PeopleFinder()(np.full((300, 400, 3), 128, np.uint8)).shape == (0, 33, 3)


@needs_mediapipe
def test_nothing_is_said_on_stderr_between_the_frames(capfd):
    finder = PeopleFinder()
    time.sleep(1.0)  # as while a video is opened: what threads have left to say comes out now
    finder(np.full((300, 400, 3), 128, np.uint8))
    assert capfd.readouterr().err == ""


@needs_mediapipe
def test_a_video_played_as_a_camera_is_lifted_with_one_frame_waiting_at_most(tmp_path, capsys, monkeypatch):
    """A photograph that moves: as fast as the machine is, all frames are accounted for."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    portrait = np.full((512, 640, 3), 255, np.uint8)
    portrait[:, 150:490] = skimage.data.astronaut()[:, 60:400]
    frames = np.stack([np.roll(portrait, 2 * i, axis=1) for i in range(60)])
    iio.imwrite(tmp_path / "v.mp4", frames, plugin="FFMPEG", fps=60)
    code, out, err = run(capsys, "lift", "lifter", "--camera", tmp_path / "v.mp4", "--device", "cpu")
    assert code == 0, err
    head, *lines = [json.loads(line) for line in out.splitlines()]
    assert head["space"] == "camera"
    numbers = [line["frame"] for line in lines]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 59  # the newest is never lost
    assert f"{len(lines)} of 60 frames lifted" in err
    assert f"{60 - len(lines)} dropped for newer ones, at most 1 waited" in err
    found = [line for line in lines if line["people"]]
    assert len(found) > len(lines) / 2
    person = found[-1]["people"][0]
    assert np.array(person["poses_m"]).shape == (17, 3)
    assert 0.3 < person["poses_m"][0][1] < 10  # so far from the camera
