"""The lifter for everyone, by what must not change its answer."""

import math

import pytest
import torch

from moga_st.data.pose.skeleton import CANONICAL
from moga_st.errors import BadInput
from moga_st.models.person import PersonLifterConfig, sight
from moga_st.spec import InputSpec


def keypoints(b: int = 2, t: int = 9, seed: int = 0) -> torch.Tensor:
    x = torch.rand(b, t, 22, 4, generator=torch.Generator().manual_seed(seed))
    x[..., :2] = x[..., :2] * 0.4 - 0.1
    x[..., 3] = torch.arange(t)[:, None] / 30
    x[0, :, 20:, 2] = 0
    return x


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return PersonLifterConfig(frames=9, width=16, depth=2).build().eval()


@torch.no_grad()
def test_what_is_not_seen_is_never_read(net):
    x = keypoints()
    other = x.clone()
    other[0, :, 20:, :2] = torch.nan
    torch.testing.assert_close(net(x), net(other))
    assert net(x).isfinite().all()
    nothing = keypoints()
    nothing[..., 2] = 0
    assert net(nothing).isfinite().all()


@torch.no_grad()
def test_only_time_differences_count(net):
    x = keypoints()
    later = x.clone()
    later[..., 3] += 100
    torch.testing.assert_close(net(x), net(later), atol=1e-3, rtol=1e-3)
    slower = x.clone()
    slower[..., 3] *= 2
    assert (net(x) - net(slower)).abs().max() > 1e-4


def test_a_turned_camera_sees_the_same_person():
    """Turning the camera about its upright axis moves every ray, and what the grid reads of the pose stays."""
    x = keypoints()
    x[..., 2] = 1
    rays = torch.nn.functional.pad(x[..., :2], (0, 1), value=1.0)
    c, s = math.cos(0.3), math.sin(0.3)
    turned = rays @ torch.tensor([[c, 0, s], [0, 1.0, 0], [-s, 0, c]])
    moved = torch.cat([turned[..., :2] / turned[..., 2:], x[..., 2:]], -1)
    before, after = sight(x), sight(moved)
    # the mean of rays is no ray's mean: it moves a little as the camera turns
    torch.testing.assert_close(before.keypoints, after.keypoints, atol=0.06, rtol=0)
    torch.testing.assert_close(before.spread, after.spread, atol=0.01, rtol=0)
    assert (x[..., 0] - moved[..., 0]).abs().min() > 0.2


def test_a_sight_is_a_rotation_that_looks_at_the_person_without_roll():
    seen = sight(keypoints())
    eye = torch.eye(3).expand(2, 3, 3)
    torch.testing.assert_close(seen.rotation @ seen.rotation.mT, eye, atol=1e-6, rtol=0)
    assert torch.linalg.det(seen.rotation).tolist() == pytest.approx([1, 1], abs=1e-5)
    assert not seen.rotation[:, 0, 1].any()
    assert seen.mean.mean(1).abs().max() < 0.02
    shown = seen.keypoints[..., 4:] > 0
    rms = (seen.keypoints[..., 2:4].square() * shown).sum((1, 2, 3)) / shown.sum((1, 2, 3))
    torch.testing.assert_close(rms, torch.ones(2), atol=1e-4, rtol=0)


def test_a_person_twice_as_small_in_the_image_is_the_same_input_but_for_the_scale():
    """Exactly so near the axis, where rays and angles are one."""
    x = keypoints()
    x[..., :2] *= 0.02
    small = x.clone()
    small[..., :2] /= 2
    before, after = sight(x), sight(small)
    torch.testing.assert_close(before.keypoints, after.keypoints, atol=1e-3, rtol=0)
    torch.testing.assert_close(before.spread / 2, after.spread, atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_root_is_where_the_keypoints_are_seen(net):
    """An untrained net puts the person on the rays of their keypoints, at the depth that an average body would have."""
    x = keypoints()
    root = net(x)[:, :, 0]
    seen = (x[..., 2:3] > 0).float()
    middle = (x[..., :2] * seen).sum((1, 2)) / seen.sum((1, 2))
    assert (root[..., 2] > 0).all()
    assert ((root[..., :2] / root[..., 2:]).mean(1) - middle).norm(dim=-1).max() < 0.3


@torch.no_grad()
@pytest.mark.parametrize("t", [1, 4, 9, 20])
def test_any_length_runs(net, t):
    assert net(keypoints(t=t)).shape == (2, t, 17, 3)


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    net = PersonLifterConfig(frames=9, width=16, depth=1).build()
    net(keypoints()).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    assert net.embed_face.weight.grad is not None
    assert net.embed_face.weight.grad.abs().max() > 0
    assert CANONICAL[:5] == ("Nose", "LEye", "REye", "LEar", "REar")


def test_bad_input_and_sizes_are_refused(net):
    with pytest.raises(BadInput, match=r"expected keypoints \(b, t, 22, 4\), got \(1, 9, 17, 3\)"):
        net(torch.zeros(1, 9, 17, 3))
    for change, message in (
        ({"frames": 8}, "odd number"),
        ({"patch": 2}, "does not divide the 27"),
        ({"width": 20}, "multiple of 8"),
        ({"heads": 5}, "does not divide the width"),
    ):
        with pytest.raises(BadInput, match=message):
            PersonLifterConfig(**change).build()


def test_a_lifter_for_live_use_gives_the_last_frames_of_what_it_would_give():
    torch.manual_seed(0)
    live = PersonLifterConfig(frames=9, width=16, depth=2, last=3).build().eval()
    whole = PersonLifterConfig(frames=9, width=16, depth=2).build().eval()
    whole.load_state_dict(live.state_dict())
    with torch.no_grad():
        for t in (1, 2, 8, 9, 20):
            torch.testing.assert_close(live(keypoints(t=t)), whole(keypoints(t=t))[:, -3:])
    spec = InputSpec((9, 22, 4), (3, 17, 3))
    assert PersonLifterConfig(frames=9).fit(spec).last == 3
    assert PersonLifterConfig(frames=9).fit(InputSpec((9, 22, 4), (9, 17, 3))).last is None
    with pytest.raises(BadInput, match="the model has 1, the data 3"):
        PersonLifterConfig(frames=9, last=1).fit(spec)
    with pytest.raises(BadInput, match="last: expected 1 to the 27 frames, got 28"):
        PersonLifterConfig(last=28).build()
