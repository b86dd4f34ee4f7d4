"""Cameras for training windows, against the pinhole camera of the package and by what they promise."""

import math

import numpy as np
import pytest
import torch

from moga_st.data.draws import Draws
from moga_st.data.pose.camera import Camera, project, world_to_camera
from moga_st.data.pose.generated import ACTIONS, generate_clip
from moga_st.data.pose.random_cameras import (
    DISTANCE_M,
    FOCAL,
    HEIGHT_M,
    Views,
    inside,
    look_at,
    random_views,
    rays,
    to_camera,
)

WINDOWS = 256


@pytest.fixture(scope="module")
def world_m() -> torch.Tensor:
    clips = [torch.from_numpy(generate_clip(i, action, 0, 9)) for i, action in enumerate(ACTIONS)]
    return torch.stack([clips[i % len(clips)] for i in range(WINDOWS)])


def draws(first: int = 0, count: int = WINDOWS) -> Draws:
    return Draws(1, torch.arange(first, first + count))


def test_a_view_is_the_packages_own_pinhole_camera(world_m):
    views = random_views(world_m, draws())
    seen = to_camera(world_m, views)
    one = torch.ones(WINDOWS, 2)
    camera = Camera(views.rotation, views.position_m, one, 0 * one, one)
    torch.testing.assert_close(seen, world_to_camera(world_m, camera), atol=1e-5, rtol=0)
    torch.testing.assert_close(rays(seen), project(seen, camera), atol=1e-5, rtol=0)


def test_projection_goes_there_and_back(world_m):
    views = random_views(world_m, draws())
    seen = to_camera(world_m, views)
    depth = seen[..., 2:]
    there = torch.cat([rays(seen) * depth, depth], -1)
    back = (views.rotation.mT[:, None, None] @ there[..., None])[..., 0] + views.position_m[:, None, None]
    torch.testing.assert_close(back, world_m, atol=2e-5, rtol=0)


def test_cameras_stand_where_they_should(world_m):
    views = random_views(world_m, draws())
    assert torch.linalg.det(views.rotation).tolist() == pytest.approx([1.0] * WINDOWS, abs=1e-5)
    middle = (world_m.amax((1, 2)) + world_m.amin((1, 2))) / 2
    away = (views.position_m - middle)[:, :2].norm(dim=-1)
    assert away.min() >= DISTANCE_M[0] - 1e-4
    assert away.max() <= DISTANCE_M[1] + 1e-4
    assert away.quantile(0.5).item() == pytest.approx(math.sqrt(16), rel=0.15)  # every ratio as likely
    height = views.position_m[:, 2]
    assert HEIGHT_M[0] <= height.min() < 0.6
    assert 2.7 < height.max() <= HEIGHT_M[1]
    turn = torch.atan2(*(views.position_m - middle)[:, :2].unbind(-1))
    assert np.histogram(turn, 4, (-math.pi, math.pi))[0].min() > WINDOWS / 8  # from all sides
    up = views.rotation[:, :, 2]  # the world's up in the camera: without roll it has no x
    roll = torch.rad2deg(torch.atan2(up[:, 0], -up[:, 1])).abs()
    assert 1 < roll.median() < 5
    assert 10 < roll.max() < 60


def test_the_whole_body_is_in_the_image_unless_it_is_to_be_cut(world_m):
    whole = random_views(world_m, draws(), truncated=0.0)
    assert inside(rays(to_camera(world_m, whole)), whole).float().mean() > 0.98  # roll and perspective cut some corners
    cut = random_views(world_m, draws(), truncated=1.0)
    kept = inside(rays(to_camera(world_m, cut)), cut).float().mean((1, 2))
    assert 0.2 < kept.mean() < 0.9
    assert (kept < 1).float().mean() > 0.9
    some = random_views(world_m, draws())
    outside = ~inside(rays(to_camera(world_m, some)), some).flatten(1).all(1)
    assert 0.15 < outside.float().mean() < 0.5
    focal = 1 / (2 * whole.half.amax(-1))  # over the longer side
    assert focal.max() <= FOCAL[1] + 1e-5
    assert 0.1 < (whole.half[:, 0] < whole.half[:, 1]).float().mean() < 0.7  # portrait


def test_a_window_has_the_same_camera_in_whatever_batch(world_m):
    together = random_views(world_m[:8], draws(0, 8))
    apart = [random_views(world_m[i : i + 4], draws(i, 4)) for i in (0, 4)]
    for whole, parts in zip(together, zip(*apart, strict=True), strict=True):
        torch.testing.assert_close(whole, torch.cat(parts))
    other = random_views(world_m[:8], Draws(2, torch.arange(8)))
    assert not torch.isclose(other.position_m, together.position_m).any(1).any()


def test_looking_at_a_point_puts_it_in_the_middle_and_keeps_the_horizon_level():
    direction = torch.tensor([[1.0, 2.0, -0.5], [-3.0, 0.1, 0.4]])
    rotation = look_at(direction)
    views = Views(rotation, torch.zeros(2, 3), torch.ones(2, 2))
    seen = to_camera(direction[:, None, None], views)[:, 0, 0]
    torch.testing.assert_close(seen, torch.stack([torch.zeros(2), torch.zeros(2), direction.norm(dim=-1)], -1))
    assert rotation[:, 0, 2].abs().max() == 0  # the image's x axis is level
    assert (rotation[:, 1, 2] < 0).all()  # and its y axis goes down
