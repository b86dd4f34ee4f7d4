"""Which frames a lifted joint is said to come from, and the picture of it."""

import itertools
import json

import numpy as np
import pytest
import torch
from PIL import Image

from moga_st import load_model
from moga_st.analyse.gradcam import pose_cam
from moga_st.cli import main
from moga_st.data.pose.camera import normalise_screen
from moga_st.data.pose.generated import generate_clip
from moga_st.data.pose.keypoints import Keypoints
from moga_st.data.pose.skeleton import JOINTS
from moga_st.draw.pose_heat import colour_of, save_pose_heat
from moga_st.errors import BadInput
from moga_st.infer.lift import came_from
from moga_st.models.lifter import LifterConfig
from moga_st.models.person import PersonLifterConfig


def walk(t: int, fps: float = 25.0) -> Keypoints:
    """A generated walk before a camera in the distance."""
    world = generate_clip(subject=3, action="walk", take=0, frames=t)
    places = np.stack([500 + 200 * world[..., 0], 700 - 200 * world[..., 2]], -1)
    points = np.concatenate([places, np.ones((t, 17, 1))], -1).astype(np.float32)
    canonical = np.concatenate([points, np.zeros((t, 5, 3), np.float32)], 1)
    return Keypoints(points, (1000, 1000), fps, "h36m", 0, 1, "generated", canonical_px=canonical)


@pytest.mark.parametrize(("frame", "frames"), [(None, range(7, 16)), (1, range(1, 6)), (20, range(16, 21))])
def test_the_window_lies_around_the_frame_within_the_clip(frame, frames):
    torch.manual_seed(0)
    net = LifterConfig(frames=9, width=32, depth=1).build().eval()
    found = came_from(net, walk(20), "LWrist", frame)
    assert found.frames.tolist() == list(frames)
    assert found.frame == (11 if frame is None else frame)
    rows = np.clip(found.frame - 1 - 4 + np.arange(9), 0, 19)
    window = normalise_screen(torch.from_numpy(walk(20).points_px[rows]), torch.tensor([1000.0, 1000.0]))[..., :2]
    inside = found.frame - 5 + np.arange(9)
    inside = (inside >= 0) & (inside < 20)
    np.testing.assert_allclose(found.heat, pose_cam(net, window, JOINTS.index("LWrist")).numpy()[inside], atol=1e-6)


@pytest.mark.parametrize(
    ("fps", "last", "frames"),
    [(25.0, None, range(11, 20)), (120.0, None, range(7, 24, 2)), (25.0, 1, range(7, 16)), (120.0, 3, range(1, 16, 2))],
)
def test_a_lifter_for_everyone_has_no_more_frames_a_second_and_none_that_come_later(fps, last, frames):
    torch.manual_seed(0)
    net = PersonLifterConfig(frames=9, width=32, depth=1, last=last).build().eval()
    found = came_from(net, walk(30, fps), "Head", 15)
    assert found.frames.tolist() == list(frames)
    assert found.heat.max() == pytest.approx(1)


def test_a_wrist_comes_from_its_own_arm():
    """By the weights in the package: more from the left arm in the frames nearby than from the feet."""
    found = came_from(load_model("lifter_xs_27f"), walk(40), "LWrist", 20)
    arm = [JOINTS.index(name) for name in ("LShoulder", "LElbow", "LWrist")]
    feet = [JOINTS.index(name) for name in ("LFoot", "RFoot")]
    assert found.heat[:, arm].mean() > found.heat[:, feet].mean()
    near = np.abs(found.frames - 20) <= 4
    assert found.heat[near].mean() > found.heat[~near].mean()


@pytest.mark.parametrize(
    ("joint", "frame", "said"),
    [("LWirst", 1, "did you mean 'LWrist'"), ("LWrist", 0, "frame: expected 1 to 20, got 0"), ("Hip", 21, "got 21")],
)
def test_what_is_not_there_is_refused(joint, frame, said):
    with pytest.raises(BadInput, match=said):
        came_from(LifterConfig(frames=9, width=8, depth=1).build().eval(), walk(20), joint, frame)


def test_the_picture_shows_the_heat_of_each_joint_and_frame(tmp_path):
    heat = np.zeros((9, 17))
    heat[4, JOINTS.index("LWrist")] = 1.0
    points = walk(9).points_px
    (path,) = save_pose_heat(tmp_path / "p", points, heat, list(range(3, 12)), 7, "LWrist", "one is hot")
    with Image.open(path) as image:
        picture = np.asarray(image).astype(int)
    hottest = (np.abs(picture - colour_of(1.0)).max(-1) < 3).sum()
    cell = 18 * (460 // 9 - 2)
    assert 0.8 * cell < hottest < 1.2 * cell + 26**2 * 3.2 / 4 + 200  # one cell, a disc on the body, the legend's end
    lightness = [sum(colour_of(i / 20)) for i in range(21)]
    assert all(a > b for a, b in itertools.pairwise(lightness))


def test_lift_draws_it(tmp_path, capsys):
    k = walk(12)
    np.savez(tmp_path / "k.npz", keypoints=k.points_px, size_px=[1000, 1000], fps=25.0, layout="h36m")
    flags = ["--out", str(tmp_path), "--no-draw", "--device", "cpu", "--cam"]
    with pytest.raises(SystemExit) as leave:
        main(["lift", "lifter_xs_27f", str(tmp_path / "k.npz"), *flags, "RFoot", "--cam-frame", "3", "--json"])
    assert leave.value.code == 0
    assert json.loads(capsys.readouterr().out)["written"][-1] == str(tmp_path / "k_person0_3d_cam.png")
    with Image.open(tmp_path / "k_person0_3d_cam.png") as picture:
        assert picture.width > 800
    for more, said in (
        (["Foot"], "--cam: 'Foot' is none of Hip, "),
        (["RFoot", "--cam-frame", "13", "--out", str(tmp_path / "new")], "--cam-frame: expected 1 to 12, got 13"),
        (["RFoot"], "there already"),
        (["RFoot", "--runtime", "onnxruntime"], "--cam: needs torch"),
    ):
        with pytest.raises(SystemExit) as leave:
            main(["lift", "lifter_xs_27f", str(tmp_path / "k.npz"), *flags, *more])
        error = capsys.readouterr().err
        assert (leave.value.code, len(error.splitlines())) == (2, 1)
        assert said in error
    assert not (tmp_path / "new").exists()  # refused before anything is written
