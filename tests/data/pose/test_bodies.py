"""Windows at any frame rate and other bodies in the same motion, by geometry."""

import math

import numpy as np
import pytest
import torch

from moga_st.data.draws import Draws
from moga_st.data.pose import bodies
from moga_st.data.pose.bodies import exchange_arms, mirrored, to_motion, vary, windows
from moga_st.data.pose.generated import generate_clip
from moga_st.data.pose.prepared_poses import MotionClip
from moga_st.data.pose.skeleton import BONES, JOINTS, MIRROR, bone_lengths, flip
from moga_st.errors import BadInput


def clip(name: str, subject: int, action: str, frames: int, fps: float = 50.0) -> MotionClip:
    return MotionClip(name, f"G{subject}", action, fps, generate_clip(subject, action, 0, frames))


@pytest.fixture(scope="module")
def motion() -> bodies.MovingBodies:
    return to_motion([clip("a", 0, "walk", 40), clip("b", 1, "kick", 30, fps=100.0)])


@pytest.fixture(scope="module")
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    poses = [torch.from_numpy(generate_clip(i, action, 0, 60))[::4] for i, action in enumerate(("walk", "box", "jump"))]
    return torch.stack(poses), torch.stack(poses[::-1])


def turned(x: torch.Tensor, degrees: float) -> torch.Tensor:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return x @ torch.tensor([[c, s, 0], [-s, c, 0], [0, 0, 1.0]])


def test_windows_are_the_clips_frames_where_the_rates_agree(motion):
    found = windows(motion, torch.tensor([20, 55]), torch.tensor([50.0, 100.0]), 5)
    torch.testing.assert_close(found[0], motion.world_m[18:23])
    torch.testing.assert_close(found[1], motion.world_m[53:58])


def test_windows_at_other_rates_lie_between_the_frames(motion):
    twice = windows(motion, torch.tensor([20]), torch.tensor([100.0]), 5)[0]
    x = motion.world_m
    expected = torch.stack([x[19], (x[19] + x[20]) / 2, x[20], (x[20] + x[21]) / 2, x[21]])
    torch.testing.assert_close(twice, expected)
    half = windows(motion, torch.tensor([20]), torch.tensor([25.0]), 5)[0]
    torch.testing.assert_close(half, x[16:25:2])


def test_windows_stop_at_the_ends_of_their_clip(motion):
    found = windows(motion, torch.tensor([0, 39, 40]), torch.tensor([50.0, 20.0, 100.0]), 9)
    torch.testing.assert_close(found[0, :5], motion.world_m[:1].expand(5, -1, -1))
    torch.testing.assert_close(found[1, 4:], motion.world_m[39:40].expand(5, -1, -1))
    torch.testing.assert_close(found[2, :5], motion.world_m[40:41].expand(5, -1, -1))


def test_other_bodies_are_as_symmetric_and_as_rigid_as_the_first(pair, monkeypatch):
    monkeypatch.setattr(bodies, "_DEFINED", {})  # proportions alone
    draws = Draws(0, torch.arange(3))
    ratio = bone_lengths(vary(pair[0], draws)) / bone_lengths(pair[0])  # (b, t, 16)
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), atol=1e-4, rtol=0)
    swap = [BONES.index((MIRROR[a], MIRROR[b])) for a, b in BONES]
    torch.testing.assert_close(ratio, ratio[..., swap], atol=1e-4, rtol=0)
    assert ratio.min() > 0.6
    assert ratio.max() < 1.5
    assert (ratio[0, 0] - ratio[1, 0]).abs().max() > 0.02  # each window has its own


def test_another_body_turns_with_the_motion(pair):
    draws = Draws(0, torch.arange(3))
    torch.testing.assert_close(vary(turned(pair[0], 70), draws), turned(vary(pair[0], draws), 70), atol=1e-5, rtol=0)
    assert (vary(pair[0], draws) - pair[0]).abs().max() < 0.6


def test_redefined_joints_stay_where_they_are_on_the_torso(pair):
    world_m, draws = pair[0], Draws(3, torch.arange(3))
    offset = bodies._redefined(world_m, draws)
    axes = bodies.torso_axes(world_m)
    local = (axes[:, :, None] * offset[..., None, :]).sum(-1)  # (b, t, 17, 3): right, front, up
    torch.testing.assert_close(local, local[:, :1].expand_as(local), atol=1e-5, rtol=0)
    assert not local[:, :, JOINTS.index("LWrist")].any()
    sides = [local[:, 0, JOINTS.index(f"{side}Shoulder")] for side in "LR"]
    torch.testing.assert_close(sides[0] * torch.tensor([-1.0, 1, 1]), sides[1], atol=1e-6, rtol=0)
    assert local[..., 2].abs().amax() > 0.005


def test_exchanged_arms_are_the_others_as_the_torso_has_them(pair):
    world_m, other = pair
    every = torch.ones(3, dtype=torch.bool)
    torch.testing.assert_close(exchange_arms(world_m, world_m, every), world_m, atol=1e-5, rtol=0)
    mixed = exchange_arms(world_m, other, every)
    torch.testing.assert_close(bone_lengths(mixed), bone_lengths(world_m), atol=1e-5, rtol=0)
    arms = [JOINTS.index(f"{side}{joint}") for side in "LR" for joint in ("Elbow", "Wrist")]
    rest = [j for j in range(17) if j not in arms]
    torch.testing.assert_close(mixed[:, :, rest], world_m[:, :, rest], atol=1e-6, rtol=0)
    torch.testing.assert_close(mixed, exchange_arms(world_m, turned(other, 130), every), atol=1e-5, rtol=0)
    elbow = [mixed, other]
    angles = []  # between upper arm and forearm: the other's
    for x in elbow:
        upper, fore = x[:, :, 12] - x[:, :, 11], x[:, :, 13] - x[:, :, 12]
        angles.append(torch.nn.functional.cosine_similarity(upper, fore, dim=-1))
    torch.testing.assert_close(angles[0], angles[1], atol=1e-4, rtol=0)
    some = exchange_arms(world_m, other, torch.tensor([True, False, False]))
    assert torch.equal(some[1:], world_m[1:])


def test_mirror_images_are_those_chosen(pair):
    found = mirrored(pair[0], torch.tensor([True, False, True]))
    assert torch.equal(found[1], pair[0][1])
    assert torch.equal(found[0], flip(pair[0][0]))


def test_motion_without_world_or_even_time_is_refused():
    uneven = MotionClip("u", "G", "walk", 50.0, generate_clip(0, "walk", 0, 3), frame=np.array([0, 1, 5]))
    with pytest.raises(BadInput, match="clip u: random cameras need poses in the world, evenly spaced"):
        to_motion([uneven])
    with pytest.raises(BadInput, match="no motion clip"):
        to_motion([])
