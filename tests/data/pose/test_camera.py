import math
from dataclasses import replace

import pytest
import torch

from moga_st.config import Config
from moga_st.data.draws import named_uniform
from moga_st.data.pose.camera import (
    Camera,
    camera_to_world,
    denormalise_screen,
    normalise_screen,
    project,
    stack,
    world_to_camera,
)
from moga_st.data.pose.detector_noise import LIMBS, DetectorNoise, detect
from moga_st.data.pose.skeleton import MIRROR, flip
from moga_st.data.pose.virtual_cameras import MARGIN_PX, virtual_cameras
from moga_st.errors import BadInput

F64 = torch.float64
# radial and tangential terms of the size Human3.6M's cameras have
RADIAL, TANGENTIAL = (-0.2, 0.24, -0.003), (-0.001, -0.0014)


def camera(seed: int = 0, lens: bool = True, centre: tuple[float, float] = (512.5, 515.4)) -> Camera:
    q, _ = torch.linalg.qr(torch.randn(3, 3, dtype=F64, generator=torch.Generator().manual_seed(seed)))
    return Camera(
        rotation=q * torch.linalg.det(q),
        position_m=torch.tensor([1.9 + seed, -4.9, 1.6], dtype=F64),
        focal_px=torch.tensor([1145.0, 1143.8], dtype=F64),
        centre_px=torch.tensor(centre, dtype=F64),
        size_px=torch.tensor([1000.0, 1002.0], dtype=F64),
        radial=torch.tensor(RADIAL, dtype=F64) if lens else None,
        tangential=torch.tensor(TANGENTIAL, dtype=F64) if lens else None,
    )


def points(*shape: int) -> torch.Tensor:
    """In front of a camera and inside its image."""
    u = torch.rand(*shape, 3, dtype=F64, generator=torch.Generator().manual_seed(1))
    return (u - torch.tensor([0.5, 0.5, 0.0])) * torch.tensor([3.0, 3.0, 4.0]) + torch.tensor([0.0, 0.0, 4.0])


def stroll(frames: int = 40, length_m: float = 1.0, origin: tuple[float, float] = (3.0, -2.0)) -> torch.Tensor:
    """A cloud of 17 joints 1.7 m high that moves along x."""
    body = torch.rand(17, 3, dtype=F64, generator=torch.Generator().manual_seed(2)) * torch.tensor([0.6, 0.6, 1.7])
    path = torch.linspace(0, length_m, frames, dtype=F64)[:, None] * torch.tensor([1.0, 0.0, 0.0])
    return body + path[:, None] + torch.tensor([*origin, 0.0])


def test_world_to_camera_by_hand_and_back():
    east = Camera(  # at (1, 2, 3), looks east along x: south (-y) is on its right
        rotation=torch.tensor([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]),
        position_m=torch.tensor([1.0, 2, 3]),
        focal_px=torch.tensor([1000.0, 1000]),
        centre_px=torch.tensor([500.0, 500]),
        size_px=torch.tensor([1000.0, 1000]),
    )
    ahead = torch.tensor([[6.0, 2, 3], [6, 1, 3], [6, 2, 4]])  # ahead; one metre south of it; one metre above it
    assert world_to_camera(ahead, east).tolist() == [[0, 0, 5], [1, 0, 5], [0, -1, 5]]
    assert project(world_to_camera(ahead, east), east).tolist() == [[500, 500], [700, 500], [500, 300]]
    world = points(4, 7)
    torch.testing.assert_close(camera_to_world(world_to_camera(world, camera()), camera()), world)


def test_projection_equals_the_formula_point_by_point():
    seen, lens = points(20), camera()
    for (x, y, z), image in zip(seen.tolist(), project(seen, lens).tolist(), strict=True):
        u, v = x / z, y / z
        r2 = u * u + v * v
        bend = 1 + RADIAL[0] * r2 + RADIAL[1] * r2**2 + RADIAL[2] * r2**3 + TANGENTIAL[0] * u + TANGENTIAL[1] * v
        expected = [
            1145.0 * (u * bend + TANGENTIAL[0] * r2) + 512.5,
            1143.8 * (v * bend + TANGENTIAL[1] * r2) + 515.4,
        ]
        assert image == pytest.approx(expected, abs=1e-9)


def test_the_lens_bends_as_far_as_it_should_and_no_lens_not_at_all():
    seen = points(50)
    straight, bent = project(seen, camera(lens=False)), project(seen, camera())
    torch.testing.assert_close(straight, seen[:, :2] / seen[:, 2:] * camera().focal_px + camera().centre_px)
    zeros = replace(camera(), radial=torch.zeros(3), tangential=torch.zeros(2))
    torch.testing.assert_close(project(seen, zeros), straight)
    axis = torch.tensor([[0.0, 0.0, 5.0]], dtype=F64)
    torch.testing.assert_close(project(axis, camera()), camera().centre_px[None])
    radius = (straight - camera().centre_px).norm(dim=-1)
    assert ((bent - straight).norm(dim=-1)[radius > 100] > 0.1).all()


def test_a_stack_is_its_cameras_one_by_one():
    cameras = [camera(seed) for seed in range(3)]
    world = points(3, 5, 17)
    together, shared = stack(cameras), points(1, 5, 17)
    for i, one in enumerate(cameras):
        torch.testing.assert_close(world_to_camera(world, together)[i], world_to_camera(world[i], one))
        torch.testing.assert_close(camera_to_world(world, together)[i], camera_to_world(world[i], one))
        torch.testing.assert_close(project(world, together)[i], project(world[i], one))
        torch.testing.assert_close(project(shared, together)[i], project(shared[0], one))
        torch.testing.assert_close(together[i].position_m, one.position_m)
    torch.testing.assert_close(together[torch.tensor([2, 0])].rotation[1], cameras[0].rotation)
    assert project(world.float(), together).dtype == torch.float32
    torch.testing.assert_close(project(world.float(), together).double(), project(world, together), atol=1e-3, rtol=0)


def test_screen_coordinates_by_hand_and_back():
    corners = torch.tensor([[0.0, 0], [1000, 1002], [500, 501]])
    size = torch.tensor([1000.0, 1002.0])
    expected = torch.tensor([[-1, -1.002], [1, 1.002], [0, 0]])
    torch.testing.assert_close(normalise_screen(corners, size), expected)
    sizes = torch.tensor([[1000.0, 1002.0], [1920.0, 1080.0]])
    keypoints = torch.rand(2, 6, 17, 3, dtype=F64) * 1000
    screen = normalise_screen(keypoints, sizes)
    torch.testing.assert_close(screen[1], normalise_screen(keypoints[1], sizes[1]))
    assert torch.equal(screen[..., 2], keypoints[..., 2])  # confidence
    torch.testing.assert_close(denormalise_screen(screen, sizes), keypoints)


def test_flipping_and_projecting_commute_for_a_centred_camera():
    pose = points(6, 17)
    centred = camera(lens=False, centre=(500.0, 501.0))
    for lens in (centred, replace(centred, radial=torch.tensor(RADIAL))):
        one = normalise_screen(project(flip(pose), lens), lens.size_px)
        other = flip(normalise_screen(project(pose, lens), lens.size_px))
        torch.testing.assert_close(one, other)
    off = camera(lens=False)
    one, other = project(flip(pose), off), off.size_px[0] - project(pose, off)[:, list(MIRROR)]
    torch.testing.assert_close(one[..., 0] - other[..., 0], torch.full((6, 17), 25.0, dtype=F64))  # 2 x 12.5 px


def test_wrong_cameras_are_refused():
    good = camera()
    with pytest.raises(BadInput, match="not a rotation"):
        replace(good, rotation=good.rotation * torch.tensor([1.0, 1.0, -1.0]))  # mirrored
    with pytest.raises(BadInput, match="not a rotation"):
        replace(good, rotation=good.rotation * 1.01)
    with pytest.raises(BadInput, match=r"focal_px: expected shape \(2,\), got \(1,\)"):
        replace(good, focal_px=good.focal_px[:1])
    with pytest.raises(BadInput, match="cannot be stacked"):
        stack([camera(), camera(lens=False)])
    with pytest.raises(BadInput, match="cannot be seen"):
        project(points(), stack([camera()]))


def distances(world: torch.Tensor, cameras: Camera) -> torch.Tensor:
    """From each camera to the nearest place of the hip, in the ground plane: (4,)."""
    return (cameras.position_m[:, None, :2] - world[:, 0, :2]).norm(dim=-1).amin(1)


@pytest.mark.parametrize("length_m", [0.0, 1.0, 3.0, 12.0])
def test_virtual_cameras_see_every_joint_from_where_they_should(length_m):
    for i in range(6):
        world = stroll(length_m=length_m)
        cameras = virtual_cameras(f"S{i}/01", world)
        seen = world_to_camera(world[None], cameras)
        assert (seen[..., 2] > 3.0).all()
        image = project(seen, cameras)
        assert image.min() >= MARGIN_PX
        assert image.max() <= 1000 - MARGIN_PX
        near = distances(world, cameras)
        assert near.min() > 4 - 1e-9
        if length_m <= 1:
            assert near.max() < 6 + 1e-9
        assert ((cameras.position_m[:, 2] > 1.3) & (cameras.position_m[:, 2] < 1.7)).all()
        assert ((cameras.focal_px - 1145).abs() < 5).all()
        # upright: what is above in the world is above in the image, and left of the view on the left
        torch.testing.assert_close(cameras.rotation[:, 0, 2], torch.zeros(4, dtype=F64), atol=1e-12, rtol=0)
        assert (cameras.rotation[:, 1, 2] < -0.9).all()
        # around the subject: four directions, about 90 degrees apart
        outwards = cameras.position_m[:, :2] - world.mean((0, 1))[:2]
        angle = torch.atan2(outwards[:, 1], outwards[:, 0])
        gaps = (angle.roll(-1) - angle).remainder(2 * math.pi).rad2deg()
        if length_m <= 1:
            assert ((gaps > 50) & (gaps < 130)).all()


def test_virtual_cameras_step_back_only_as_far_as_needed():
    world = stroll(length_m=12.0)
    cameras = virtual_cameras("long", world)
    back = distances(world, cameras)
    assert back.max() > 8  # a 12 m path does not fit a 47 degree view from 6 m
    direction = cameras.rotation[:, 2] * torch.tensor([1.0, 1.0, 0.0])
    direction = direction / direction.norm(dim=-1, keepdim=True)
    for i in (back > 6.2).nonzero().flatten().tolist():  # 0.2 m nearer, some joint would be out of view
        one = cameras[i]
        nearer = replace(one, position_m=one.position_m + 0.2 * direction[i])
        image = project(world_to_camera(world, nearer), nearer)
        assert (image - 500).abs().max() > 500 - MARGIN_PX - 3  # 3 px: the turn of the shorter view


def test_virtual_cameras_belong_to_the_clips_name():
    world = stroll()
    a, b = virtual_cameras("S01/01", world), virtual_cameras("S01/02", world)
    assert all(
        torch.equal(x, y) for x, y in zip(a.position_m, virtual_cameras("S01/01", world).position_m, strict=True)
    )
    assert (a.position_m - b.position_m).norm(dim=-1).min() > 0.01
    moved = virtual_cameras("S01/01", world + torch.tensor([5.0, 7.0, 0.0]))
    torch.testing.assert_close(moved.position_m - a.position_m, torch.tensor([[5.0, 7.0, 0.0]]).double().expand(4, 3))
    state = torch.get_rng_state()
    virtual_cameras("S01/01", world)
    assert torch.equal(torch.get_rng_state(), state)
    # the numbers themselves, which no version may change: records depend on them
    torch.testing.assert_close(named_uniform("S01/01", 2, 2), torch.tensor(FROZEN_UNIFORM, dtype=F64), atol=0, rtol=0)
    torch.testing.assert_close(a.position_m, torch.tensor(FROZEN_POSITIONS_M, dtype=F64), atol=1e-9, rtol=0)


FROZEN_UNIFORM = [[0.6547981395235685, 0.009759797570510154], [0.182061733783345, 0.008510209871503527]]
FROZEN_POSITIONS_M = [
    [4.1668338085, 2.6760509979, 1.632143763],
    [-0.4589301081, 0.8283608205, 1.5501766986],
    [2.2440625709, -6.2490673046, 1.3790106932],
    [8.3988730276, -4.9055372292, 1.4991813423],
]


def test_cameras_refuse_what_they_cannot_see():
    with pytest.raises(BadInput, match="S01/01: cameras need finite poses"):
        virtual_cameras("S01/01", stroll().fill_(torch.nan))
    with pytest.raises(BadInput, match="finite poses"):
        virtual_cameras("S01/01", torch.zeros(0, 17, 3))


def standing(frames: int) -> torch.Tensor:
    """Keypoints (t, 17, 2) of one still pose whose box is 400 px high."""
    one = torch.rand(17, 2, dtype=F64, generator=torch.Generator().manual_seed(3)) * torch.tensor([200.0, 400.0])
    one[0, 1], one[10, 1] = 400.0, 0.0
    return (one + 300).expand(frames, 17, 2)


ONLY_JITTER = DetectorNoise(jitter=0.01, memory=0.8, outliers=0.0, swaps=0.0)


def test_jitter_has_the_size_and_the_memory_it_says():
    exact = standing(4000)
    error = (detect(exact, "S01/01", 0, 0, ONLY_JITTER)[..., :2] - exact) / 400
    spread = error.std(0)
    assert spread[13].mean() == pytest.approx(0.015, rel=0.08)  # a wrist: hardness 1.5
    assert spread[8].mean() == pytest.approx(0.007, rel=0.08)  # the thorax: 0.7
    assert error.mean().abs() < 1e-3
    lag = (error[1:] * error[:-1]).mean() / error.square().mean()
    assert lag == pytest.approx(0.8, abs=0.02)
    assert error[:1].std() == pytest.approx(0.01, rel=0.3)  # full size from the first frame
    free = DetectorNoise(jitter=0.01, memory=0.0, outliers=0.0, swaps=0.0)
    error = detect(exact, "S01/01", 0, 0, free)[..., :2] - exact
    assert abs((error[1:] * error[:-1]).mean() / error.square().mean()) < 0.02
    far = detect(exact / 4, "S01/01", 0, 0, ONLY_JITTER)[..., :2] - exact / 4
    torch.testing.assert_close(far * 4, detect(exact, "S01/01", 0, 0, ONLY_JITTER)[..., :2] - exact)  # as the box


def test_outliers_are_as_frequent_long_and_far_as_they_say():
    exact = standing(4000)
    noise = DetectorNoise(jitter=0.0, outliers=0.02, outlier_reach=0.3, swaps=0.0, event_frames=5)
    out = detect(exact, "S01/01", 1, 2, noise)
    distance = (out[..., :2] - exact).norm(dim=-1) / 400
    off = distance > 0
    assert off.double().mean() == pytest.approx(0.02, rel=0.15)
    assert distance.max() <= 0.3 + 1e-12
    assert distance[off].mean() == pytest.approx(0.2, rel=0.1)  # two thirds of the reach: uniform on the disc
    begins = off[1:] & ~off[:-1]
    assert off.sum() / begins.sum() == pytest.approx(5, rel=0.1)  # overlapping ones last longer
    # far ones are known by their confidence, exact ones have nearly all of it
    assert out[..., 2][distance > 0.15].max() < 0.01
    assert out[..., 2][~off].min() >= 0.9
    assert (out[..., 2] > 0).all()
    assert out[..., 2].max() <= 1


def test_swaps_exchange_whole_limbs():
    exact = standing(4000)
    out = detect(exact, "S01/01", 1, 2, DetectorNoise(jitter=0.0, outliers=0.0, swaps=0.02))[..., :2]
    mirrored = exact[:, list(MIRROR)]
    for limb in LIMBS:
        sides = [*limb, *(MIRROR[j] for j in limb)]
        swapped = (out[:, sides] == mirrored[:, sides]).flatten(1).all(1)
        kept = (out[:, sides] == exact[:, sides]).flatten(1).all(1)
        assert (swapped ^ kept).all()
        assert swapped.double().mean() == pytest.approx(0.02, rel=0.5)
    trunk = [j for j in range(17) if MIRROR[j] == j]
    assert torch.equal(out[:, trunk], exact[:, trunk])


def test_noise_belongs_to_clip_camera_and_seed():
    exact = standing(50)
    one = detect(exact, "S01/01", 0, 0, DetectorNoise())
    assert torch.equal(one, detect(exact, "S01/01", 0, 0, DetectorNoise()))
    for other in [("S01/02", 0, 0), ("S01/01", 1, 0), ("S01/01", 0, 1)]:
        assert (detect(exact, *other, DetectorNoise())[..., :2] - one[..., :2]).abs().mean() > 1
    silent = DetectorNoise(jitter=0.0, outliers=0.0, swaps=0.0)
    assert torch.equal(detect(exact, "S01/01", 0, 0, silent)[..., :2], exact)
    assert detect(exact.float(), "S01/01", 0, 0, silent).dtype == torch.float32
    assert Config.from_dict(silent.to_dict()) == silent


def test_bad_keypoints_and_noise_are_refused():
    with pytest.raises(BadInput, match=r"S01/01: expected keypoints \(t, 17, 2\)"):
        detect(standing(4)[:, :5], "S01/01", 0, 0, DetectorNoise())
    with pytest.raises(BadInput, match="memory"):
        detect(standing(4), "S01/01", 0, 0, DetectorNoise(memory=1.0))
