"""`moga-st lift` from keypoint files to poses, BVH and pictures, and the lifting behind it."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

from moga_st import pretrained
from moga_st.cli import lift as lift_verb
from moga_st.config import ModelConfig
from moga_st.data.pose import mocap
from moga_st.data.pose.camera import normalise_screen
from moga_st.data.pose.generated import generate_clip
from moga_st.data.pose.keypoints import STANDING, Keypoints, read_keypoints
from moga_st.data.pose.skeleton import JOINTS, MIRROR
from moga_st.data.pose.smoothing import OneEuro
from moga_st.data.video.clips import Video, open_video
from moga_st.errors import BadInput
from moga_st.infer import lift as lifting
from moga_st.infer import lift_files
from moga_st.models.lifter import Lifter, LifterConfig
from moga_st.models.moganet import MogaNetConfig
from tests.bvh_reader import read_bvh
from tests.test_cli import run

# imageio leaves the pipes of its ffmpeg process to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def keypoints(t: int, seed: int = 0) -> Keypoints:
    rng = np.random.default_rng(seed)
    xy = rng.uniform(300, 700, (17, 2)) + rng.normal(0, 10, (t, 17, 2))  # a body that no body could outrun
    points = np.concatenate([xy, np.ones((t, 17, 1))], -1).astype(np.float32)
    return Keypoints(points, (1000, 800), 50.0, "Human3.6M-17", 0, 1, "made")


class FrameByFrame(Lifter):
    """A lifter whose pose is a known function of the frame's keypoints, so that every window agrees."""

    def forward(self, keypoints: torch.Tensor) -> torch.Tensor:
        x, y = keypoints[..., 0], keypoints[..., 1]
        return torch.stack([x, y, x * x + y], dim=-1)


@dataclasses.dataclass(frozen=True)
class FlatConfig(ModelConfig, kind="test_flat"):
    """A lifter of somebody's own, which gives the centre frame of nine."""

    @property
    def example_shape(self):
        return (9, 17, 2)

    def build(self):
        return Flat()


class Flat(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.depth = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, keypoints):
        x, y = keypoints[:, 4:5].unbind(-1)
        return torch.stack([x, y, self.depth * y], dim=-1)


def test_any_network_of_17_joints_lifts(tmp_path):
    found = keypoints(12)
    pretrained.export_weights(tmp_path / "own.safetensors", Flat(), FlatConfig(), {})
    poses = lifting.lift(tmp_path / "own.safetensors", found)
    xy = normalise_screen(torch.from_numpy(found.points_px[..., :2]), torch.tensor([1000.0, 800.0])).numpy()
    expected = np.stack([xy[..., 0], xy[..., 1], 2 * xy[..., 1]], -1)
    np.testing.assert_allclose(poses, expected - expected[:, :1], atol=1e-5)


@pytest.mark.parametrize("t", [1, 4, 9, 23])
def test_any_length_is_lifted_frame_for_frame(t):
    found = keypoints(t)
    net = FrameByFrame(LifterConfig(frames=9, width=8, depth=1))
    poses = lifting.lift(net, found, torch.device("cpu"))
    xy = normalise_screen(torch.from_numpy(found.points_px[..., :2]), torch.tensor([1000.0, 800.0])).numpy()
    expected = np.stack([xy[..., 0], xy[..., 1], xy[..., 0] ** 2 + xy[..., 1]], -1)
    np.testing.assert_allclose(poses, expected - expected[:, :1], atol=1e-5)


def test_centre_only_and_all_frames_models_agree_where_they_must(monkeypatch):
    """With weights shared, every frame's centre window is what the centre-only model sees."""
    sizes = []
    monkeypatch.setattr(lifting, "BATCH", 5)
    torch.manual_seed(0)
    whole = LifterConfig(frames=9, width=8, depth=1).build().eval()
    centre = LifterConfig(frames=9, width=8, depth=1, centre_only=True).build().eval()
    centre.load_state_dict(whole.state_dict())
    found = keypoints(12)
    hook = centre.register_forward_pre_hook(lambda _, x: sizes.append(len(x[0])))
    poses = lifting.lift(centre, found, torch.device("cpu"))
    hook.remove()
    xy = normalise_screen(torch.from_numpy(found.points_px[..., :2]), torch.tensor([1000.0, 800.0]))
    with torch.no_grad():
        for i in (0, 6, 11):
            window = xy[np.clip(np.arange(i - 4, i + 5), 0, 11)][None]
            mirrored = window[:, :, list(MIRROR)] * torch.tensor([-1.0, 1.0])
            back = whole(mirrored)[0, 4][list(MIRROR)] * torch.tensor([-1.0, 1.0, 1.0])
            expected = (whole(window)[0, 4] + back) / 2
            np.testing.assert_allclose(poses[i], (expected - expected[:1]).numpy(), atol=1e-5)
    # one to see how many frames come out, then each with its mirror image: never more windows in memory than go through
    # the network at once
    assert sizes == [1, 5, 5, 5, 5, 2, 2]


def test_upright_turns_camera_axes_about_x():
    axes = np.eye(3)[None]  # right, down, forward
    np.testing.assert_array_equal(lifting.upright(axes)[0], [[1, 0, 0], [0, 0, -1], [0, 1, 0]])


def test_other_networks_are_refused():
    net = MogaNetConfig((8, 8, 8, 8), (1, 1, 1, 1), classes=2).build()
    with pytest.raises(BadInput, match="hold a MogaNet; lift needs a pose lifter"):
        lifting.lift(net, keypoints(3), torch.device("cpu"))


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    config = LifterConfig(frames=9, width=8, depth=1)
    path = tmp_path / "w.safetensors"
    pretrained.export_weights(path, config.build(), config, {})
    return path


def test_lift_writes_poses_bvh_and_pictures(weights, tmp_path, capsys):
    found = keypoints(20)
    np.savez(tmp_path / "k.npz", keypoints=found.points_px, size_px=[1000, 800], fps=25.0, layout="h36m")
    code, out, _ = run(
        capsys,
        "lift",
        "--space",
        "root",
        weights,
        tmp_path / "k.npz",
        "--out",
        tmp_path / "o",
        "--device",
        "cpu",
        "--json",
    )
    assert code == 0
    result = json.loads(out)
    assert result["frames"] == 20
    assert [Path(p).suffix for p in result["written"]] == [".npz", ".bvh", ".png", ".gif", ".mp4"]
    with np.load(tmp_path / "o" / "k_person0_3d.npz") as saved:
        poses = saved["poses_m"]
        assert saved["fps"] == 25.0
    assert poses.shape == (20, 17, 3)
    assert np.abs(poses[:, 0]).max() == 0
    motion = read_bvh(tmp_path / "o" / "k_person0_3d.bvh")
    assert motion.fps == pytest.approx(25.0)
    assert len(motion.points_m) == 20
    assert len(iio.imread(tmp_path / "o" / "k_person0_3d.mp4", plugin="FFMPEG")) == 20


def walkers(t: int) -> list[dict]:
    """mmpose's file of two people in COCO-17, the second twice as tall, who come in frames 2 and 1."""
    shape = np.random.default_rng(0).uniform((-10, -25), (10, 25), (17, 2))
    frames = []
    for i in range(t):
        people = [shape + np.array([30 + i, 50])] * (i >= 2) + [2 * shape + np.array([100 - i, 60])] * (i >= 1)
        found = [{"keypoints": p.tolist(), "keypoint_scores": [0.9] * 17} for p in people]
        frames.append({"frame_id": i, "instances": found})
    return frames


def grey_gif(path: Path, t: int) -> Path:
    """Frame i is of grey level 10 i, 160x120 px, at 20 fps."""
    frames = [Image.new("RGB", (160, 120), (10 * i,) * 3) for i in range(t)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=50)
    return path


@pytest.mark.parametrize(("person", "first", "numbered_from"), [(None, 1, 0), (0, 1, 0), (1, 2, 0), (None, 1, 1)])
def test_the_frames_of_the_video_lie_under_the_keypoints(weights, tmp_path, capsys, person, first, numbered_from):
    frames = walkers(12)
    for frame in frames:
        frame["frame_id"] += numbered_from
    (tmp_path / "k.json").write_text(json.dumps(frames))
    video = grey_gif(tmp_path / "v.gif", 12)
    flags = ["--video", video, "--out", tmp_path / "o", "--device", "cpu", "--json"]
    flags += [] if person is None else ["--person", person]
    code, out, err = run(capsys, "lift", "--space", "root", weights, tmp_path / "k.json", *flags)
    assert code == 0, err
    result = json.loads(out)
    # the tall one, who comes first, is the largest and the number 0
    assert (result["people"], result["person"], result["frames"]) == (2, person or 0, 12 - first)
    assert result["fps"] == 20
    stem = f"k_person{person or 0}_3d"
    with np.load(tmp_path / "o" / f"{stem}.npz") as saved:
        assert saved["size_px"].tolist() == [160, 120]
        height = np.ptp(saved["keypoints_px"][0, :, 1])
        assert (height > 60) == (person != 1)
    sheets = iio.imread(tmp_path / "o" / f"{stem}.mp4", plugin="FFMPEG")
    assert len(sheets) == 12 - first
    panel = sheets[:, 60:300, 20:340].astype(int)  # of the 2D input
    assert (panel.max(-1) - panel.min(-1) > 60).any()  # the skeleton's colours
    grey = np.median(panel, axis=(1, 2, 3))
    np.testing.assert_allclose(grey, 10 * np.arange(first, 12), atol=4)


def test_everyone_gets_files_of_their_own_and_none_is_overwritten(weights, tmp_path, capsys):
    frames = walkers(32)
    for frame in frames[7:27]:
        del frame["instances"][0]  # the small one is away for 2 s
    (tmp_path / "k.json").write_text(json.dumps(frames))
    flags = [
        "lift",
        "--space",
        "root",
        weights,
        tmp_path / "k.json",
        "--size-px",
        160,
        120,
        "--fps",
        10,
        "--out",
        tmp_path / "o",
        "--json",
    ]
    code, out, err = run(capsys, *flags, "--everyone", "--device", "cpu")
    assert code == 0, err
    results = json.loads(out)["lifted"]
    written = [Path(p).name for r in results for p in r["written"]]
    names = ["k_person0_3d", "k_person1_3d", "k_person2_3d"]  # without numbers in the file, who comes back is new
    assert written == [f"{n}.{s}" for n in names for s in ("npz", "bvh", "png", "gif", "mp4")]
    with np.load(tmp_path / "o" / "k_person2_3d.npz") as saved:
        assert saved["frame"].tolist() == list(range(27, 32))
        np.testing.assert_allclose(saved["time_s"], (np.arange(27, 32) - 0) / 10)
        assert saved["joints"].tolist() == list(JOINTS)
        assert (saved["confidence"] > 0).all()
        assert (str(saved["units"]), str(saved["space"]), int(saved["person"])) == ("m", "root", 2)
        assert "x right, y away from the camera, z up" in str(saved["axes"])
    before = (tmp_path / "o" / "k_person1_3d.bvh").read_bytes()
    code, _, err = run(capsys, *flags, "--person", 1, "--no-smooth", "--device", "cpu")
    assert code == 2
    assert "k_person1_3d.npz and 4 more files: there already; give another folder with --out, or --overwrite" in err
    assert (tmp_path / "o" / "k_person1_3d.bvh").read_bytes() == before
    code, _, err = run(capsys, *flags, "--person", 1, "--no-smooth", "--overwrite", "--device", "cpu")
    assert code == 0, err
    assert (tmp_path / "o" / "k_person1_3d.bvh").read_bytes() != before
    code, _, err = run(capsys, *flags, "--person", 1, "--everyone")
    assert code == 2
    assert "--everyone and --person: give one of them" in err


def test_a_body_upside_down_is_warned_of_and_gaps_are_marked(weights, tmp_path, capsys):
    points = np.concatenate([STANDING * (60, -60) + (500, 400), np.full((17, 1), 0.9)], -1)
    points = np.repeat(points[None], 12, 0)
    points[5:7] = 0
    np.savez(tmp_path / "k.npz", keypoints=points, size_px=[1000, 800], fps=25.0, layout="h36m")
    code, out, err = run(
        capsys, "lift", "--space", "root", weights, tmp_path / "k.npz", "--out", tmp_path / "o", "--json"
    )
    assert code == 0, err
    assert "moga-st: warning: person 0: the body is upside down in the image" in err
    assert "upside down" in json.loads(out)["warnings"][0]
    with np.load(tmp_path / "o" / "k_person0_3d.npz") as saved:
        np.testing.assert_array_equal((saved["confidence"] == 0).all(1), np.isin(np.arange(12), (5, 6)))
    sheets = iio.imread(tmp_path / "o" / "k_person0_3d.mp4", plugin="FFMPEG")
    titles = (sheets[:, :40].astype(int).max(-1) < 128).sum(
        (1, 2)
    )  # the caption of a frame that was not seen is longer
    assert titles[[5, 6]].min() > 1.2 * np.delete(titles, [5, 6]).max()


def test_a_video_that_its_file_turns_is_warned_of_once(tmp_path, caplog):
    """A phone's video lies on its side in its file and has a mark that turns it."""
    image = np.zeros((48, 96, 3), np.uint8)
    iio.imwrite(tmp_path / "flat.mp4", [image] * 5, fps=25, plugin="FFMPEG", macro_block_size=8)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-display_rotation", "90"]
    command += ["-i", str(tmp_path / "flat.mp4"), "-c", "copy", str(tmp_path / "phone.mp4")]
    subprocess.run(command, check=True)
    assert lift_files.turned_warning(open_video(tmp_path / "flat.mp4")) == ""
    assert lift_files.turned_warning(open_video(grey_gif(tmp_path / "v.gif", 3))) == ""
    phone = open_video(tmp_path / "phone.mp4")
    assert phone.size_px == (48, 96)
    assert "phone.mp4 is shown turned by 90 degrees" in lift_files.turned_warning(phone)
    assert not caplog.records  # the reader's own words of it


def test_a_layout_that_nothing_decides_names_the_flag(weights, tmp_path, capsys):
    points = np.random.default_rng(0).uniform(100, 700, (5, 17, 3))
    np.savez(tmp_path / "k.npz", keypoints=points, size_px=[1000, 800])
    code, _, err = run(capsys, "lift", "--space", "root", weights, tmp_path / "k.npz", "--out", tmp_path / "o")
    assert code == 2
    assert "say which with --layout: h36m or coco or posetrack" in err


def test_every_fifth_frame_plays_as_long_as_the_video(weights, tmp_path, capsys):
    frames = walkers(20)[2::5]
    (tmp_path / "k.json").write_text(json.dumps(frames))
    video = grey_gif(tmp_path / "v.gif", 20)
    flags = ["--video", video, "--out", tmp_path / "o", "--device", "cpu", "--json"]
    code, out, err = run(capsys, "lift", "--space", "root", weights, tmp_path / "k.json", *flags)
    assert code == 0, err
    assert (json.loads(out)["frames"], json.loads(out)["fps"]) == (4, 4)  # of 20 fps
    assert read_bvh(tmp_path / "o" / "k_person1_3d.bvh").fps == pytest.approx(4)
    assert iio.immeta(tmp_path / "o" / "k_person1_3d.mp4", plugin="FFMPEG")["fps"] == pytest.approx(4)


@pytest.mark.parametrize(("from_0", "first"), [(False, 2), (True, 3)])
def test_only_numbers_of_other_programs_may_count_from_1(from_0, first):
    """Frames 3 to 7 of a video that says it has 7: from 1, or a container that counts one too few."""
    found = dataclasses.replace(keypoints(5), first_frame=3)
    part = lift_files.frames_of(Video(Path("v.mp4"), (1000, 800), 50.0, 7), found, from_0=from_0)
    assert part.shown == (first, first + 5, 1)


@pytest.mark.parametrize(
    ("source", "flags", "message"),
    [
        ("v.m4v", [], "v.m4v: the index of the recording is missing"),  # and is not taken for JSON
        ("out", [], "out: no such video, keypoint file or folder of them"),
        ("v.mp4", ["--video", "other.mp4"], "--video: v.mp4 is a video itself"),
        ("k.json", ["--pose2d", "body26"], "--pose2d: is for a video; k.json holds keypoints"),
        ("k.json", ["--pose2d-weights", "w.pth"], "--pose2d-weights: is for a video"),
        ("k.npz", ["--detector", "whole-image"], "--detector: is for a video"),
        ("k.npz", ["--detector-weights", "w.pth"], "--detector-weights: is for a video"),
        ("v.mp4", ["--finder", "mediapipe", "--pose2d", "body26"], "--pose2d: is for mmpose, and --finder mediapipe"),
        ("k.json", ["--finder", "mmpose"], "--finder: is for a video; k.json holds keypoints"),
        ("v.mp4", ["--everyone", "--person", "0"], "--everyone and --person: give one of them"),
        ("v.mp4", ["--height-m", "18"], "--height-m: expected 0.4 to 2.6, got 18"),
        ("v.mp4", ["--pitch-deg", "91"], "--pitch-deg: expected -90 to 90, got 91"),
        ("v.mp4", ["--roll-deg", "nan"], "--roll-deg: expected -90 to 90, got nan"),
        ("v.mp4", ["--fps", "0"], "--fps: expected more than 0, got 0"),
        ("v.mp4", ["--size-px", "100", "0"], "--size-px: expected more than 0, got 0"),
        ("v.mp4", ["--min-confidence", "1.5"], "--min-confidence: expected 0 to 1, got 1.5"),
        ("v.mp4", ["--max-gap-s", "-1"], "--max-gap-s: expected 0 or more, got -1"),
        ("v.mp4", ["--one-euro.min-cutoff-hz", "0"], "--one-euro.min-cutoff-hz: expected more than 0, got 0"),
        ("v.mp4", ["--one-euro.speed-cutoff-hz", "nan"], "--one-euro.speed-cutoff-hz: expected more than 0, got nan"),
        ("v.mp4", ["--one-euro.beta", "-1"], "--one-euro.beta: expected 0 or more, got -1"),
        (None, [], "lift: name a video or a file of keypoints, or --camera 0"),
        ("v.mp4", ["--camera", "0"], "--camera: v.mp4 is lifted, or the camera; leave one of them out"),
        (None, ["--camera", "v.mp4", "--space", "world"], "--space world: needs the whole clip"),
        (None, ["--camera", "v.mp4", "--space", "root", "--video", "v.mp4"], "--video: says nothing to --camera"),
        (None, ["--camera", "none.mp4", "--space", "root"], "none.mp4: no such video"),
    ],
)
def test_wrong_flags_are_named_before_anything_is_done(weights, tmp_path, capsys, monkeypatch, source, flags, message):
    def never(*_: object) -> None:
        raise AssertionError("people are looked for")

    monkeypatch.setattr(lift_verb, "find_people", never)
    monkeypatch.chdir(tmp_path)
    for name in ("v.m4v", "v.mp4", "k.json", "k.npz"):
        Path(name).write_bytes(b"junk" * 100)
    named = [] if source is None else [source]
    code, _, err = run(capsys, "lift", "--space", "root", weights, *named, "--device", "cpu", *flags)
    assert code == 2, err
    assert message in err
    assert not Path("lifted").exists()


def test_smoothing_is_on_unless_told(weights, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("moga_st.infer.lift_files.save_lift", lambda *_, **__: [])
    found = keypoints(15)
    np.savez(tmp_path / "k.npz", keypoints=found.points_px, size_px=[1000, 800], fps=50.0, layout="h36m")
    net = pretrained.load_model(weights, torch.device("cpu"))
    for flags, filtered in (
        ([], OneEuro()),
        (["--no-smooth"], None),
        (["--one-euro.min-cutoff-hz", "3", "--one-euro.beta", "0.5"], OneEuro(3.0, 0.5)),
    ):
        code, out, err = run(
            capsys,
            "lift",
            "--space",
            "root",
            weights,
            tmp_path / "k.npz",
            "--out",
            tmp_path,
            "--device",
            "cpu",
            "--json",
            "--overwrite",
            *flags,
        )
        assert code == 0, err
        assert json.loads(out)["smoothing"] == (filtered and dataclasses.asdict(filtered))
        expected = found.points_px.copy()
        if filtered is not None:
            expected[..., :2] = filtered.smooth(expected[..., :2], 50.0)
            assert np.abs(expected - found.points_px).max() > 1
        poses = lifting.lift(net, dataclasses.replace(found, points_px=expected), torch.device("cpu"))
        with np.load(tmp_path / "k_person0_3d.npz") as saved:
            np.testing.assert_allclose(saved["poses_m"], lifting.upright(poses), atol=1e-5)


def test_what_counts_as_missing_is_said_by_flags(weights, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("moga_st.infer.lift_files.save_lift", lambda *_, **__: [])
    file = tmp_path / "k.npz"
    found = keypoints(20).points_px
    found[5:11, JOINTS.index("RWrist"), 2] = 0.4
    np.savez(file, keypoints=found, size_px=[1000, 800], fps=50.0, layout="h36m")
    net, poses = pretrained.load_model(weights, torch.device("cpu")), []
    settings: list[dict[str, Any]] = [{"min_confidence": 0.1}, {"min_confidence": 0.5}]
    settings.append({"min_confidence": 0.5, "max_gap_s": 0.0})
    for flags in settings:
        argv = [f"--{k.replace('_', '-')}={v}" for k, v in flags.items()]
        code, _, err = run(
            capsys,
            "lift",
            "--space",
            "root",
            weights,
            file,
            "--out",
            tmp_path,
            "--overwrite",
            "--device",
            "cpu",
            "--no-smooth",
            *argv,
        )
        assert code == 0, err
        expected = lifting.lift(net, read_keypoints(file, **flags), torch.device("cpu"))
        with np.load(tmp_path / "k_person0_3d.npz") as saved:
            poses.append(saved["poses_m"])
        np.testing.assert_allclose(poses[-1], lifting.upright(expected), atol=1e-5)
    assert np.abs(poses[0] - poses[1]).max() > 1e-4
    assert np.abs(poses[1] - poses[2]).max() > 1e-4


def test_a_video_without_mmpose_says_how_to_get_it_and_what_works_without(weights, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "mmpose", None)  # what makes `import mmpose` fail
    monkeypatch.setitem(sys.modules, "mmdet", None)
    out = tmp_path / "o"
    code, _, err = run(
        capsys, "lift", "--space", "root", weights, grey_gif(tmp_path / "v.gif", 3), "--out", out, "--device", "cpu"
    )
    assert code == 2
    assert not out.exists()
    assert "pip install 'moga-st[mmpose]'" in err
    assert "pip install 'moga-st[video-pose]'" in err
    assert "and the video beside it" in err
    code, _, err = run(
        capsys, "lift", "--space", "root", weights, tmp_path / "none.mp4", "--out", out, "--device", "cpu"
    )
    assert code == 2
    assert "none.mp4: no such video" in err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.json", None, "none.json"),
        ("broken.json", "{", "broken.json"),
        ("empty.json", "[]", "empty.json"),
    ],
)
def test_bad_keypoint_files_leave_with_code_2(weights, tmp_path, capsys, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    code, _, err = run(
        capsys, "lift", "--space", "root", weights, tmp_path / name, "--size-px", 100, 100, "--out", tmp_path / "o"
    )
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "o").exists()


def test_data_prepare_writes_the_file_that_the_recipes_read(tmp_path, capsys, monkeypatch):
    """The ready npz layout, from generated motion of subjects of all three sets, through the command line."""
    monkeypatch.setenv("MOGA_ST_DATA", str(tmp_path))
    names, arrays = [], {}
    for subject in ("S01", "S08", "S05"):
        name = f"{subject}/01"
        names.append(name)
        arrays[name] = np.round(generate_clip(int(subject[1:]), "walk", 0, 30) * 10_000).astype(np.int16)
    meta = {
        "meta/unit_m": 1e-4,
        "meta/fps": 50.0,
        "meta/joint_names": list(JOINTS),
        "meta/origin_xy_m": np.zeros((3, 3)),
        "meta/clips": names,
        "meta/subject": [n[:3] for n in names],
        "meta/action": ["walk"] * 3,
        "meta/stature_m": np.full(3, 1.7),
        "meta/floor_z_m": np.zeros(3),
    }
    np.savez(tmp_path / "ready.npz", **arrays, **meta)
    code, out, err = run(capsys, "data", "prepare", "cmu-mocap", tmp_path / "ready.npz")
    assert code == 0, err
    assert "3 clips, 90 frames" in out
    (tmp_path / "elsewhere").mkdir()
    flags = ["--data-root", tmp_path / "elsewhere"]
    assert run(capsys, "data", "prepare", "cmu-mocap", tmp_path / "ready.npz", *flags)[0] == 0
    assert (tmp_path / "elsewhere" / "cmu-mocap.h5").is_file()
    code, out, err = run(capsys, "data", "cmu_moga_27f", "--json")
    assert code == 0, err
    assert json.loads(out)["protocol"]["test_frames"] == 4 * 30
    code, _, err = run(capsys, "data", "prepare", "human3.6m", tmp_path)
    assert code == 2
    assert "looked" in err
    assert mocap.TEST_SUBJECTS[0] == "S05"
