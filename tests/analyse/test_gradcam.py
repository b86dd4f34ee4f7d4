"""Where a predicted frame and a lifted joint came from.  The definition itself is tested in tests/infer."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from moga_st import load_model
from moga_st.analyse.gradcam import clip_cam, pose_cam, spread
from moga_st.cli import main
from moga_st.errors import BadInput
from moga_st.models.lifter import BODY_ORDER, LifterConfig
from moga_st.models.person import PersonLifterConfig
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig


def squares(frames: int = 10) -> torch.Tensor:
    """A bright square that moves to the right, (t, 1, 64, 64)."""
    clip = torch.zeros(frames, 1, 64, 64)
    for t in range(frames):
        clip[t, 0, 20:40, 4 + 2 * t : 24 + 2 * t] = 1.0
    return clip


def test_a_predicted_frame_came_from_where_things_move():
    """By the weights in the package: what moves is hot in the frames just before, the empty corners are not."""
    net, clip = load_model("mmnist_compact"), squares()
    heat = clip_cam(net, clip, 1)  # type: ignore[arg-type]
    assert heat.shape == (10, 64, 64)
    assert heat.min() >= 0
    assert heat.max() == pytest.approx(1, abs=0.3)  # bilinear enlarging rounds the peak off
    near = torch.zeros(64, 64, dtype=torch.bool)
    near[12:48, 0:56] = True
    last = heat[-3:].mean(0)
    assert last[near].mean() > 3 * last[~near].mean()
    assert heat[-1].mean() > 3 * heat[0].mean()  # and the newest frames count most


def test_the_clips_map_is_its_definition():
    torch.manual_seed(0)
    net = SimVPConfig(4, 3, 1, width=4, layers=2, translator=MogaTranslatorConfig(width=16, depth=2)).build().eval()
    past = torch.rand(4, 1, 10, 14)
    kept = {}

    def keep(_: nn.Module, __: object, out: torch.Tensor) -> None:
        out.retain_grad()
        kept["map"] = out

    net.encoder.layers[-1].register_forward_hook(keep)
    net(past[None])[0, 1].sum().backward()
    grad, maps = kept["map"].grad, kept["map"].detach()
    slow = torch.stack([sum(grad[t, c] * maps[t, c] for c in range(4)) for t in range(4)]).clamp(min=0)  # type: ignore[arg-type]
    torch.testing.assert_close(clip_cam(net, past, 2), spread(slow / slow.max(), (10, 14)))
    with pytest.raises(BadInput, match="frame: expected 1 to 3"):
        clip_cam(net, past, 4)


def test_the_poses_map_lies_on_the_joints_of_the_input():
    torch.manual_seed(0)
    net = LifterConfig(frames=9, width=32, depth=1).build().eval()
    keypoints = torch.rand(9, 17, 2)
    kept = {}

    def keep(_: nn.Module, __: object, out: torch.Tensor) -> None:
        out.retain_grad()
        kept["map"] = out

    hook = net.embed.register_forward_hook(keep)
    pose = net(keypoints[None])[0, 4]
    (pose[13] - pose[0]).norm().backward()
    hook.remove()
    grad, maps = kept["map"].grad[0], kept["map"].detach()[0]  # (c, positions, joints in BODY_ORDER)
    slow = (grad * maps).sum(0).clamp(min=0)
    slow = slow / slow.max()
    found = pose_cam(net, keypoints, 13)
    assert found.shape == (9, 17)
    for t in range(9):
        for place, joint in enumerate(BODY_ORDER):
            assert found[t, joint] == pytest.approx(slow[t // 3, place].item(), abs=1e-6)
    with pytest.raises(BadInput, match="joint: expected 0 to 16"):
        pose_cam(net, keypoints, 17)


def test_the_map_of_a_lifter_for_everyone_has_the_face_in_it():
    torch.manual_seed(0)
    net = PersonLifterConfig(frames=9, width=32, depth=1).build().eval()
    for parameter in net.parameters():  # a new network's attention is the identity, which would hide mistakes
        torch.nn.init.normal_(parameter, std=0.2)
    keypoints = torch.rand(9, 22, 4)
    kept = {}

    def keep(_: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        args[0].retain_grad()
        kept["map"] = args[0]

    hook = net.layers.register_forward_pre_hook(keep)
    pose = net(keypoints[None])[0, 2]
    (pose[10] - pose[0]).norm().backward()
    hook.remove()
    grad, maps = kept["map"].grad[0], (kept["map"] - net.joint).detach()[0]  # the joint's own name is no input
    slow = (grad * maps).sum(0).clamp(min=0)
    slow = slow / slow.max()
    found = pose_cam(net, keypoints, 10, at=2)
    for place, joint in enumerate(BODY_ORDER):
        torch.testing.assert_close(found[::3, joint], slow[:, place])
    faceless = keypoints.clone()
    faceless[:, 17:] = 0
    assert not torch.allclose(pose_cam(net, faceless, 10, at=2), found)


def test_predict_draws_it(tmp_path, capsys):
    np.save(tmp_path / "clip.npy", (squares(12)[:, 0].numpy() * 255).astype(np.uint8))
    with pytest.raises(SystemExit) as leave:
        main(["predict", "mmnist_compact", str(tmp_path / "clip.npy"), "--cam", "2", "--out", str(tmp_path)])
    assert leave.value.code == 0, capsys.readouterr().err
    picture = np.asarray(Image.open(tmp_path / "clip_predicted_cam.png")).astype(int)
    assert picture.shape[0] > 2 * 64
    red = (picture[..., 0] > 150) & (picture[..., 2] < 60)
    assert red.sum() > 50
    with pytest.raises(SystemExit):
        main(["predict", "mmnist_compact", str(tmp_path / "clip.npy"), "--cam", "11", "--out", str(tmp_path)])
    assert "frame: expected 1 to 10, got 11" in capsys.readouterr().err
