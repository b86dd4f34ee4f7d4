"""`lift --truth`: scores of a lifted person against known poses."""

import json

import numpy as np
import pytest
import torch

from moga_st import pretrained
from moga_st.data.pose.export.motion import Motion, write_npz
from moga_st.data.pose.generated import generate_clip
from moga_st.errors import BadInput
from moga_st.infer.lift import lift
from moga_st.infer.truth import CONVENTIONS, read_truth, score
from moga_st.models.lifter import LifterConfig
from tests.infer.test_lift import keypoints
from tests.test_cli import run

T = 30


def motion(poses_m: np.ndarray, first: int = 0, step: int = 1, space: str = "camera") -> Motion:
    frame = first + step * np.arange(len(poses_m))
    return Motion(poses_m, 50.0 / step, frame, frame / 50, space=space)


@pytest.fixture(scope="module")
def poses() -> np.ndarray:
    return generate_clip(3, "walk", 0, T) + np.array([0.2, 4.0, 0.3])


def test_each_figure_is_what_its_convention_says(tmp_path, poses):
    write_npz(tmp_path / "t.npz", motion(poses))
    truth = read_truth(tmp_path / "t.npz")
    zero = {"frames": T, "mpjpe_mm": 0, "p_mpjpe_mm": 0, "n_mpjpe_mm": 0, "mpjve_mm": 0, "root_mm": 0}
    assert score(motion(poses), truth) == pytest.approx(zero, abs=0.01)
    larger = score(motion(poses * 1.1), truth)
    hip = poses[:, :1]
    assert larger["mpjpe_mm"] == pytest.approx(100 * np.linalg.norm(poses - hip, axis=-1).mean(), abs=0.01)
    assert larger["p_mpjpe_mm"] == larger["n_mpjpe_mm"] == pytest.approx(0, abs=0.01)
    assert larger["root_mm"] == pytest.approx(100 * np.linalg.norm(hip, axis=-1).mean(), abs=0.01)
    c, s = np.cos(0.1), np.sin(0.1)
    turned = score(motion(poses @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1.0]])), truth)
    assert turned["mpjpe_mm"] > 15 < turned["n_mpjpe_mm"]
    assert turned["p_mpjpe_mm"] == pytest.approx(0, abs=0.01)
    shaken = poses.copy()
    shaken[1::2, 5, 2] += 0.017
    velocity = score(motion(shaken), truth)["mpjve_mm"]
    assert velocity == pytest.approx(1.0, abs=0.01)  # one joint of 17, by 17 mm at every step
    assert set(larger) - {"frames"} == set(CONVENTIONS)


def test_frames_are_matched_by_their_numbers(tmp_path, poses):
    write_npz(tmp_path / "t.npz", motion(poses, first=100))
    truth = read_truth(tmp_path / "t.npz")
    found = score(motion(poses[10:20], first=110), truth)
    assert found["frames"] == 10
    assert found["mpjpe_mm"] == pytest.approx(0, abs=0.01)
    every_fifth = score(motion(poses[::5], first=100, step=5), truth)
    assert every_fifth["frames"] == 6
    assert every_fifth["mpjpe_mm"] == every_fifth["mpjve_mm"] == pytest.approx(0, abs=0.01)
    np.save(tmp_path / "t.npy", (poses - poses[:, :1]).astype(np.float32))  # neither numbers nor a root
    plain = score(motion(poses[3:9], first=4), read_truth(tmp_path / "t.npy"), first=1)
    assert plain["frames"] == 6
    assert plain["mpjpe_mm"] == pytest.approx(0, abs=0.01)
    assert "root_mm" not in plain
    with pytest.raises(BadInput, match="no frame of person 0, who is in frames 500 to 509"):
        score(motion(poses[:10], first=500), truth)


def test_other_axes_units_and_files_are_refused(tmp_path, poses):
    write_npz(tmp_path / "world.npz", motion(poses, space="world"))
    with pytest.raises(BadInput, match="in the space 'world', the lifted ones in 'camera'; lift with `space` world"):
        score(motion(poses), read_truth(tmp_path / "world.npz"))
    root = motion(poses - poses[:, :1], space="root")  # in the camera's axes
    write_npz(tmp_path / "camera.npz", motion(poses))
    assert score(root, read_truth(tmp_path / "camera.npz"))["mpjpe_mm"] == pytest.approx(0, abs=0.01)
    for name, array, message in (
        ("mm.npy", poses * 1000, r"bodies of 1\d{3} m; poses must be in metres"),
        ("shape.npy", poses[:, :16], r"expected floats \(t, 17, 3\)"),
        ("nan.npy", poses * np.nan, "not finite"),
    ):
        np.save(tmp_path / name, array)
        with pytest.raises(BadInput, match=message):
            read_truth(tmp_path / name)
    with pytest.raises(BadInput, match=r"poses.csv: expected poses as `lift` writes them \(.npz\), or a .npy"):
        read_truth(tmp_path / "poses.csv")


def test_lift_prints_the_scores(tmp_path, capsys):
    """The truth is what the net gives, and then 17 mm off in one of 17 joints."""
    torch.manual_seed(0)
    config = LifterConfig(frames=9, width=8, depth=1)
    net, found = config.build().eval(), keypoints(20)
    size = np.median(np.ptp(lift(net, found), axis=1).max(-1))
    with torch.no_grad():
        net.head.weight.mul_(1.5 / size)  # an untrained net's bodies have any size
        assert net.head.bias is not None
        net.head.bias.mul_(1.5 / size)
    weights = tmp_path / "w.safetensors"
    pretrained.export_weights(weights, net, config, {})
    np.savez(tmp_path / "k.npz", keypoints=found.points_px, size_px=[1000, 800], fps=50.0, layout="h36m")
    command = ["lift", weights, tmp_path / "k.npz", "--space", "root", "--no-draw", "--device", "cpu"]
    code, out, err = run(capsys, *command, "--json", "--out", tmp_path / "o")
    assert code == 0, err
    assert "truth" not in json.loads(out)
    with np.load(tmp_path / "o" / "k_person0_3d.npz") as saved:
        arrays = {name: saved[name] for name in saved.files}
    for moved_m in (0.0, 0.017):
        arrays["poses_m"][:, 3, 2] += moved_m
        np.savez(tmp_path / "t.npz", **arrays)
        again = [*command, "--out", tmp_path / "o", "--overwrite", "--truth", tmp_path / "t.npz"]
        code, out, err = run(capsys, *again, "--json")
        assert code == 0, err
        truth = json.loads(out)["truth"]
        assert truth["frames"] == 20
        assert truth["mpjpe_mm"] == pytest.approx(1000 * moved_m / 17, abs=0.02)
    code, out, _ = run(capsys, *again)
    assert "frames 20, mpjpe_mm 1.0, p_mpjpe_mm" in out
    code, _, err = run(capsys, *command, "--everyone", "--truth", tmp_path / "t.npz")
    assert code == 2
    assert "--truth: holds one person's poses; name the person with --person" in err
