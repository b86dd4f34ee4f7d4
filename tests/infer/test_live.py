"""Live lifting: what it gives for a frame is what the whole clip up to there gives, and nothing waits."""

import json
import sys

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from moga_st import pretrained
from moga_st.cli import lift_live as live_verb
from moga_st.data.pose.skeleton import COCO17, JOINTS, to_canonical
from moga_st.data.pose.smoothing import OneEuro
from moga_st.errors import BadInput
from moga_st.infer.lift import upright
from moga_st.infer.live import LiveLifter
from moga_st.infer.person import lift_person
from moga_st.models.lifter import LifterConfig
from moga_st.models.person import PersonLifterConfig
from tests.test_cli import run

CPU = torch.device("cpu")
SIZE = (1000, 800)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return PersonLifterConfig(frames=9, width=8, depth=1, last=3).build().eval()


def people(t: int, seed: int = 0) -> np.ndarray:
    """One who stands on the left and sways: (t, 17, 3)."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform(100, 300, (17, 2)) + 20 * np.sin(np.arange(t) / 3)[:, None, None] + rng.normal(0, 1, (t, 17, 2))
    return np.concatenate([xy, np.full((t, 17, 1), 0.9)], -1).astype(np.float32)


@pytest.mark.parametrize("fps", [25.0, 120.0])
def test_frame_by_frame_it_gives_what_the_clip_gives(net, fps):
    x = people(25)
    x[3, 5, 2] = 0.1  # not seen
    canonical = to_canonical(torch.from_numpy(np.where(x[..., 2:] < 0.3, 0, x)), COCO17).numpy()
    whole = upright(lift_person(net, canonical, SIZE, fps, CPU))
    live = LiveLifter(net, CPU, SIZE, fps, COCO17)
    given = []
    for i, person in enumerate(x):
        (one,) = live(i, i / fps, [person])
        assert one.person == 0
        given.append(one.poses_m)
        np.testing.assert_allclose(one.keypoints_px[JOINTS.index("RKnee"), :2], person[14, :2], atol=1e-3)
    start = 0 if fps == 25 else 1  # of every second frame: which ones come before the first is not the same
    np.testing.assert_allclose(np.stack(given)[start:], whole[start:], atol=2e-4)


def test_people_keep_their_numbers_and_a_missing_one_comes_back(net):
    left, right = people(30), people(30, 1) + np.array([500, 0, 0], np.float32)
    live = LiveLifter(net, CPU, SIZE, 20.0, COCO17, patience_s=0.5)
    for i in range(10):
        shown = live(i, i / 20, [right[i], left[i]] if i % 2 else [left[i], right[i]])
        by_number = {p.person: p.keypoints_px[JOINTS.index("RKnee"), 0] for p in shown}
        assert by_number == {0: pytest.approx(left[i, 14, 0]), 1: pytest.approx(right[i, 14, 0])}
    assert [p.person for p in live(10, 0.5, [left[10]])] == [0]
    assert [p.person for p in live(11, 0.55, np.zeros((0, 17, 3)))] == []
    assert sorted(p.person for p in live(12, 0.6, [left[12], right[12]])) == [0, 1]
    assert [p.person for p in live(29, 1.45, [right[29]])] == [2]  # away for too long
    assert len(live._seen) == 1


def test_frames_that_were_dropped_are_a_longer_step(net):
    """Every third frame of a slow motion is every frame of a motion of a third of the rate."""
    x = people(30)
    fast, slow = (LiveLifter(net, CPU, SIZE, fps, COCO17) for fps in (30.0, 10.0))
    for i in range(0, 30, 3):
        (a,), (b,) = fast(i, i / 30, [x[i]]), slow(i // 3, i / 30, [x[i]])
        if i:
            np.testing.assert_allclose(a.poses_m, b.poses_m, atol=1e-5)


def test_smoothing_and_focal_length_have_their_effect(net):
    x = people(20)
    rough, smooth, near = (
        LiveLifter(net, CPU, SIZE, 25.0, COCO17, **given)  # type: ignore[arg-type]
        for given in ({}, {"smooth": OneEuro(1.0, 0.0)}, {"focal_px": 500.0})
    )
    poses = [[live(i, i / 25, [p])[0].poses_m for i, p in enumerate(x)] for live in (rough, smooth, near)]
    moved = [np.abs(np.diff([p - p[:1] for p in of], axis=0)).mean() for of in poses]
    assert moved[1] < 0.8 * moved[0]
    assert poses[2][-1][0, 1] < 0.7 * poses[0][-1][0, 1]


def test_a_lifter_of_17_joints_is_refused():
    with pytest.raises(BadInput, match="a Lifter does not read any detector's keypoints; take `lifter_causal`"):
        LiveLifter(LifterConfig(frames=9, width=8, depth=1).build(), CPU, SIZE, 25.0, COCO17)


class BySquare:
    """Finds one person, whose place the frame's brightness says: in frame i they are 2 i pixels further right."""

    name = "squares"
    layout = "coco"

    def __init__(self):
        self.seen: list[int] = []

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        number = round(float(frame.mean()) / 5)
        self.seen.append(number)
        person = people(1)[0] / np.array([10, 10, 1], np.float32)
        return (person + np.array([2.0 * number, 0, 0], np.float32))[None]


@pytest.fixture
def weights(tmp_path, net):
    path = tmp_path / "w.safetensors"
    pretrained.export_weights(path, net, net.config, {})
    return path


def test_a_video_played_as_a_camera_streams_a_line_of_json_a_frame(weights, tmp_path, capsys, monkeypatch):
    """Frame i has brightness 5 i: each line's number and keypoints are those of the frame it says."""
    finder = BySquare()
    monkeypatch.setattr(live_verb, "make_finder", lambda *_: finder)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    clip = np.broadcast_to((5 * np.arange(40, dtype=np.uint8))[:, None, None, None], (40, 64, 96, 3))
    iio.imwrite(
        tmp_path / "v.mp4", clip, fps=100, plugin="FFMPEG", codec="libx264", output_params=["-qp", "0", "-g", "1"]
    )
    flags = ["--camera", tmp_path / "v.mp4", "--device", "cpu", "--no-smooth", "--space", "root"]
    code, out, err = run(capsys, "lift", weights, *flags)
    assert code == 0, err
    head, *lines = [json.loads(line) for line in out.splitlines()]
    assert head["joints"] == list(JOINTS)
    assert (head["units"], head["space"], head["fps"]) == ("m", "root", 100.0)
    numbers = [line["frame"] for line in lines]
    assert numbers == sorted(set(numbers)) == finder.seen
    assert numbers[-1] == 39
    first = None
    for line in lines:
        assert line["time_s"] == pytest.approx(line["frame"] / 100, abs=1e-4)
        (person,) = line["people"]
        assert np.array(person["poses_m"]).shape == (17, 3)
        assert not np.any(person["poses_m"][0])
        x = person["keypoints_px"][1][0] - 2 * line["frame"]
        first = x if first is None else first
        assert x == pytest.approx(first, abs=0.02)
    assert f"{len(lines)} of 40 frames lifted" in err
    assert f"{40 - len(lines)} dropped for newer ones, at most 1 waited" in err


def test_the_window_shows_the_frame_and_ends_with_q(weights, tmp_path, capsys, monkeypatch):
    shown = []

    class Screen:
        WINDOW_AUTOSIZE = WND_PROP_VISIBLE = 1

        def namedWindow(self, *_):
            pass

        def imshow(self, _, image):
            shown.append(image)

        def waitKey(self, _):
            return ord("q") if len(shown) == 3 else -1

        def getWindowProperty(self, *_):
            return 1.0

    monkeypatch.setattr(live_verb, "make_finder", lambda *_: BySquare())
    monkeypatch.setitem(sys.modules, "cv2", Screen())
    monkeypatch.setenv("DISPLAY", ":0")
    clip = np.zeros((300, 64, 96, 3), np.uint8)
    clip[..., 0] = 200
    iio.imwrite(tmp_path / "v.mp4", clip, plugin="FFMPEG", fps=100)
    code, out, err = run(capsys, "lift", weights, "--camera", tmp_path / "v.mp4", "--device", "cpu")
    assert code == 0, err
    assert out == ""
    assert err.startswith("moga-st: 3 of")
    blue, green, red = shown[0][150, 20].tolist()  # as OpenCV has them; the frame fills the first panel's width
    assert red > 150 > max(blue, green)
