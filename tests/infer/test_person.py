"""Lifting any person by any camera: windows, rates, scale, with lifters whose answer is known."""

import numpy as np
import pytest
import torch

from moga_st.data.pose.generated import generate_clip
from moga_st.data.pose.keypoints import Keypoints
from moga_st.data.pose.skeleton import COCO17, bone_lengths, to_canonical
from moga_st.data.pose.smoothing import OneEuro
from moga_st.errors import BadInput
from moga_st.infer.lift import check_lifter, lift
from moga_st.infer.person import (
    assumed_focal_px,
    lift_person,
    mirrored,
    scaled_to,
    smooth_seen,
    stature_m,
    to_rays,
    windows_of,
)
from moga_st.models.lifter import LifterConfig
from moga_st.models.person import PersonLifter, PersonLifterConfig

CPU = torch.device("cpu")
SIZE = (1000, 800)


class FrameByFrame(PersonLifter):
    """A lifter whose pose is a known function of the frame's keypoints, so that every window agrees."""

    def forward(self, keypoints: torch.Tensor) -> torch.Tensor:
        x, y, _, _ = keypoints[..., :17, :].unbind(-1)
        # the mirror image changes sides, so sides are made alike
        return torch.stack([x.mean(2, keepdim=True).expand_as(x), y.mean(2, keepdim=True).expand_as(y), 1 + 0 * x], -1)


class Clock(PersonLifter):
    """A lifter that tells how far apart in time its frames are."""

    def forward(self, keypoints: torch.Tensor) -> torch.Tensor:
        seconds = keypoints[:, :, 0, 3]
        step = torch.cat([seconds.diff(dim=1), seconds[:, -1:] - seconds[:, -2:-1]], 1)
        return torch.nn.functional.pad(step[..., None, None].expand(-1, -1, 17, 1), (2, 0))


def keypoints(t: int) -> np.ndarray:
    points = np.random.default_rng(t).uniform(200, 700, (t, 22, 3)).astype(np.float32)
    points[..., 2] = 0.9
    points[:, 17:] = 0
    return points


@pytest.mark.parametrize("fps", [25.0, 60.0, 120.0, 150.0])
@pytest.mark.parametrize("t", [1, 4, 9, 23])
def test_any_length_at_any_rate_is_lifted_frame_for_frame(t, fps):
    net = FrameByFrame(PersonLifterConfig(frames=9, width=8, depth=1))
    x = keypoints(t)
    expected = (x[:, :17, :2].mean(1) - np.array(SIZE) / 2) / 1200
    poses = lift_person(net, x, SIZE, fps, CPU, 1200, overlap=False)
    assert poses.shape == (t, 17, 3)
    np.testing.assert_allclose(poses[:, 3, :2], expected, atol=1e-5)
    poses = lift_person(net, x, SIZE, fps, CPU, 1200)
    every = {25.0: 1, 60.0: 1, 120.0: 2, 150.0: 3}[fps]
    for first in range(min(every, t)):  # of every second frame each one's neighbours have a part, but at the ends
        part, once = poses[first::every, 3, :2], expected[first::every]
        twice = once.copy()
        for i in range(1, len(once) - 1):
            twice[i] = once[i] / 2 + (once[i - 1] + once[i + 1]) / 4
        seen_twice = fps != 25 and len(once) > 9
        np.testing.assert_allclose(part, (once + twice) / 2 if seen_twice else once, atol=1e-5)


@pytest.mark.parametrize(("fps", "apart"), [(25.0, 1 / 25), (60.0, 1 / 60), (100.0, 2 / 100), (240.0, 4 / 240)])
def test_frames_are_as_far_apart_as_the_rate_says_but_no_faster_than_in_training(fps, apart):
    net = Clock(PersonLifterConfig(frames=9, width=8, depth=1))
    for t in (40, 5):  # in a clip shorter than a window time goes on too
        once = lift_person(net, keypoints(t), SIZE, fps, CPU, overlap=False)
        np.testing.assert_allclose(once[..., 2], apart, atol=1e-6)


@pytest.mark.parametrize(
    ("fps", "t", "last", "intervals"),
    [
        (50.0, 40, None, 1.5),
        (40.0, 10, None, 1.5),
        (240.0, 40, None, 6),
        (39.0, 40, None, 1),
        (50.0, 9, None, 1),
        (50.0, 40, 3, 1),
    ],
)
def test_where_frames_are_dense_windows_of_every_second_one_have_their_say(fps, t, last, intervals):
    net = Clock(PersonLifterConfig(frames=9, width=8, depth=1, last=last))
    poses = lift_person(net, keypoints(t), SIZE, fps, CPU)
    np.testing.assert_allclose(poses[..., 2], intervals / fps, atol=1e-6)


def test_what_is_not_seen_in_every_second_frame_has_no_say():
    """Windows of nothing would put the person anywhere."""
    net = Clock(PersonLifterConfig(frames=9, width=8, depth=1))
    x = keypoints(40)
    x[1::2] = 0
    np.testing.assert_allclose(lift_person(net, x, SIZE, 50.0, CPU)[..., 2], 1 / 50, atol=1e-6)
    x = keypoints(40)
    x[20:24] = 0  # a short gap leaves enough on both sides
    np.testing.assert_allclose(lift_person(net, x, SIZE, 50.0, CPU)[..., 2], 1.5 / 50, atol=1e-6)
    x[12:32] = 0
    np.testing.assert_allclose(lift_person(net, x, SIZE, 50.0, CPU)[..., 2], 1 / 50, atol=1e-6)


def test_rays_are_pixels_over_the_focal_length_about_the_middle():
    x = keypoints(3)
    rays = to_rays(x, SIZE, 500.0, 30.0)
    assert rays.shape == (3, 22, 4)
    np.testing.assert_allclose(rays[:, :17, 0], (x[:, :17, 0] - 500) / 500, atol=1e-6)
    np.testing.assert_allclose(rays[:, :17, 1], (x[:, :17, 1] - 400) / 500, atol=1e-6)
    assert not rays[:, 17:, :3].any()  # unseen keypoints are nowhere
    np.testing.assert_allclose(rays[:, 5, 3], [0, 1 / 30, 2 / 30], atol=1e-6)
    assert assumed_focal_px((1920, 1080)) == assumed_focal_px((1080, 1920)) == 1920
    for focal, fps in ((0.0, 30.0), (np.inf, 30.0), (500.0, 0.0), (500.0, np.nan)):
        with pytest.raises(BadInput, match="expected more than 0"):
            to_rays(x, SIZE, focal, fps)


def test_a_body_of_a_given_height_projects_to_the_same_keypoints():
    poses = generate_clip(0, "walk", 0, 30)[..., [0, 2, 1]] * [1, -1, 1] + np.array([0.3, 1, 5])
    scaled = scaled_to(poses.astype(np.float32), 1.2)
    assert stature_m(scaled) == pytest.approx(1.2, rel=1e-5)
    np.testing.assert_allclose(scaled[..., :2] / scaled[..., 2:], poses[..., :2] / poses[..., 2:], atol=1e-6)
    with pytest.raises(BadInput, match=r"0\.4 to 2\.6"):
        scaled_to(poses, 175.0)


def test_stature_is_the_way_along_the_bones():
    poses = generate_clip(0, "squat", 0, 60)
    bones = bone_lengths(torch.from_numpy(poses)).median(0).values.tolist()  # in the order of the joints 1 to 16
    trunk, legs = sum(bones[6:10]), (bones[1] + bones[2] + bones[4] + bones[5]) / 2
    assert stature_m(poses) == pytest.approx((trunk + legs) / 0.95, abs=1e-4)
    assert 1.4 < stature_m(poses) < 2.1


def test_smoothing_keeps_what_is_seen_apart_from_what_is_not():
    x, smooth = keypoints(30), OneEuro()
    whole = smooth_seen(x, 30.0, smooth)
    np.testing.assert_allclose(whole[:, :17, :2], smooth.smooth(x[:, :17, :2], 30.0), atol=1e-4)
    assert not whole[:, 17:].any()
    x[10:15, 4] = 0
    still = np.broadcast_to(x[:1], x.shape).copy()
    still[10:15, 4] = 0
    np.testing.assert_allclose(smooth_seen(still, 30.0, smooth), still, atol=1e-3)
    found = smooth_seen(x, 30.0, smooth)
    assert not found[10:15, 4].any()
    np.testing.assert_array_equal(found[..., 2], x[..., 2])
    assert not smooth_seen(np.zeros((4, 22, 3), np.float32), 30.0, smooth).any()


def test_lift_reads_what_the_detector_named_and_nothing_made_up():
    torch.manual_seed(0)
    net = PersonLifterConfig(frames=9, width=8, depth=1).build().eval()
    x = np.random.default_rng(0).uniform(200, 700, (20, 17, 3)).astype(np.float32)
    x[..., 2] = 0.9
    canonical = to_canonical(torch.from_numpy(x), COCO17).numpy()
    made_up = np.full((20, 17, 3), 1e4, np.float32)  # what is filled in for a lifter of 17 joints
    found = Keypoints(made_up, SIZE, 30.0, "COCO-17", 0, 1, "made", canonical_px=canonical)
    there = lift_person(net, canonical, SIZE, 30.0, CPU)
    np.testing.assert_allclose(lift(net, found, CPU), there - there[:, :1], atol=1e-6)
    nearer = lift_person(net, canonical, SIZE, 30.0, CPU, focal_px=500)
    np.testing.assert_allclose(lift(net, found, CPU, focal_px=500), nearer - nearer[:, :1], atol=1e-6)
    assert nearer[:, 0, 2].mean() < 0.7 * there[:, 0, 2].mean()
    smoothed = lift(net, found, CPU, OneEuro())
    assert np.abs(np.diff(smoothed, axis=0)).mean() < np.abs(np.diff(there - there[:, :1], axis=0)).mean()
    check_lifter(net)
    with pytest.raises(BadInput, match="takes none"):
        lift(LifterConfig(frames=9, channels=3, width=8, depth=1).build(), found, CPU, focal_px=500)


def test_no_later_frame_has_a_part_in_a_pose_of_a_lifter_for_live_use():
    """By the gradient of each frame's pose, and by what changes if the later frames do."""
    torch.manual_seed(0)
    net = PersonLifterConfig(frames=9, width=8, depth=2, last=3).build().eval()
    for layer in net.layers.modules():  # blocks start as the identity: let every path count
        for name, value in layer.named_parameters(recurse=False):
            if name in ("scale1", "scale2", "sigma"):
                torch.nn.init.constant_(value, 0.5)
            elif value.ndim > 1:
                torch.nn.init.normal_(value, std=0.2)
    t, now = 14, 8
    rays = to_rays(keypoints(t), SIZE, 800.0, 25.0).requires_grad_()
    starts = np.arange(t) - (net.config.frames - 1)
    poses = mirrored(net, windows_of(rays, starts, net.config.frames, 1 / 25))[:, -1]
    (gradient,) = torch.autograd.grad(poses[now].square().sum(), rays)
    by_frame = gradient.abs().sum((1, 2))
    assert (by_frame[now + 1 :] == 0).all()
    assert (by_frame[: now + 1] > 0).all()  # the whole window of nine
    x = keypoints(t)
    other = x.copy()
    other[now + 1 :] = keypoints(40)[: t - now - 1]
    lifted, changed = (lift_person(net, k, SIZE, 25.0, CPU, 800.0) for k in (x, other))
    np.testing.assert_array_equal(lifted[: now + 1], changed[: now + 1])
    assert np.abs(lifted[now + 1 :] - changed[now + 1 :]).max(axis=(1, 2)).min() > 1e-4
    np.testing.assert_allclose(lifted, poses.detach().numpy(), atol=1e-5)
