"""Training windows: what is seen agrees with what is to be found, and nothing depends on the batch."""

import pytest
import torch

from moga_st.data.draws import Draws
from moga_st.data.pose.bodies import to_motion
from moga_st.data.pose.detected_windows import HARDNESS, OCCLUSIONS, SHOWN, detected
from moga_st.data.pose.generated import generate_clip
from moga_st.data.pose.person_windows import Variety, person_windows
from moga_st.data.pose.prepared_poses import MotionClip
from moga_st.data.pose.skeleton import CANONICAL, H36M17, JOINTS
from moga_st.errors import BadInput

BODY = [CANONICAL.index({"LFoot": "LAnkle", "RFoot": "RAnkle"}.get(name, name)) for name in JOINTS]


@pytest.fixture(scope="module")
def motion():
    actions = ("walk", "box", "squat", "stretch")
    return to_motion(MotionClip(a, "G0", a, 50.0, generate_clip(0, a, 0, 60)) for a in actions)


def exact_rays(b: int, t: int = 27) -> torch.Tensor:
    points = torch.rand(b, 1, 22, 2, generator=torch.Generator().manual_seed(0)) * 0.4 - 0.2
    return points.expand(-1, t, -1, -1) + torch.arange(t)[:, None, None] * 1e-3


def noisy(b: int, inside: torch.Tensor | None = None, masks: float = 0.35) -> tuple[torch.Tensor, torch.Tensor]:
    exact = exact_rays(b)
    inside = torch.ones(b, 27, 22, dtype=torch.bool) if inside is None else inside
    draws = Draws(0, torch.arange(b))
    return exact, detected(exact, inside, torch.ones(b, 27), torch.full((b,), 50.0), draws, masks)


def test_keypoints_are_the_poses_projected(motion):
    """Also where the focal length that is told is not the true one."""
    variety = Variety(truncated=0.0, masks=0.0, focal_error=0.4)
    keypoints, poses_m = person_windows(motion, 0, torch.arange(128), 27, variety)
    rays = poses_m[..., :2] / poses_m[..., 2:]
    box = (rays.amax(2) - rays.amin(2)).amax(-1)
    points = keypoints[:, :, BODY]
    off = (points[..., :2] - rays).norm(dim=-1) / box[..., None]
    off = off[points[..., 2] > 0]
    assert off.median() < 0.02  # a detector's jitter
    assert off.quantile(0.99) < 0.35  # its outliers and swaps
    hip = poses_m[:, 13, 0, 2]
    assert hip.min() > 1
    assert 15 > hip.max() > 8.5  # a longer focal length told is a person further away


def test_time_is_told_in_seconds(motion):
    keypoints, _ = person_windows(motion, 0, torch.arange(64), 27, Variety())
    seconds = keypoints[..., 3]
    assert torch.equal(seconds, seconds[:, :, :1].expand_as(seconds))
    assert not seconds[:, 13].any()
    step = seconds[:, :, 0].diff(dim=1)
    torch.testing.assert_close(step, step[:, :1].expand_as(step), atol=1e-5, rtol=0)
    assert 1 / 60 - 1e-5 <= step.min() < 0.02
    assert 0.05 < step.max() <= 1 / 15 + 1e-5


def test_poses_are_those_of_bodies_standing_in_front_of_a_camera(motion):
    poses_m = person_windows(motion, 0, torch.arange(64), 9, Variety()).poses_m
    assert (poses_m[..., 2] > 0.3).all()
    below = (poses_m[:, :, [3, 6], 1] > poses_m[:, :, 10:11, 1]).float().mean()
    assert below > 0.97  # y goes down, and feet are below heads but for a camera held askew


def test_a_window_is_the_same_in_whatever_batch(motion):
    together = person_windows(motion, 5, torch.arange(8), 9, Variety())
    apart = [person_windows(motion, 5, torch.arange(i, i + 4), 9, Variety()) for i in (0, 4)]
    for whole, parts in zip(together, zip(*apart, strict=True), strict=True):
        torch.testing.assert_close(whole, torch.cat(parts), atol=1e-5, rtol=1e-5)
    assert not torch.equal(person_windows(motion, 6, torch.arange(8), 9, Variety()).poses_m, together.poses_m)


def test_a_window_may_be_one_frame(motion):
    keypoints, poses_m = person_windows(motion, 0, torch.arange(8), 1, Variety())
    assert keypoints.shape == (8, 1, 22, 4)
    assert keypoints.isfinite().all()
    assert poses_m.isfinite().all()


def test_layouts_show_their_keypoints_in_their_share_of_windows():
    _, points = noisy(512)
    seen = (points[..., 2] > 0).any(1)  # (b, 22)
    nose, head = seen[:, CANONICAL.index("Nose")], seen[:, CANONICAL.index("Head")]
    assert nose.float().mean() == pytest.approx(1 - SHOWN["Human3.6M-17"][1], abs=0.05)  # what masks hide is little
    assert nose[head].float().mean() < 0.35  # a top of the head and a face: Halpe alone
    assert sum(share for _, share in SHOWN.values()) == pytest.approx(1)
    both, _ = SHOWN["Human3.6M-17"]
    assert [CANONICAL[i] for i in both] == [n for n in CANONICAL if H36M17.same_as.get(n, n) in JOINTS]
    assert set().union(*OCCLUSIONS.values()) < set(CANONICAL)


def test_what_is_not_seen_is_zero_and_what_the_image_cuts_is_not_seen():
    inside = torch.rand(64, 27, 22, generator=torch.Generator().manual_seed(1)) < 0.5
    _, points = noisy(64, inside=inside)
    assert not points[~inside].any()
    unseen = points[..., 2] == 0
    assert not points[unseen].any()
    assert (points[..., 2][~unseen] >= 0.01).all()
    assert (points[..., 2] <= 1).all()
    none, all_masked = noisy(256, masks=0.0)[1], noisy(256, masks=1.0)[1]
    assert (all_masked[..., 2] > 0).float().mean() < 0.85 * (none[..., 2] > 0).float().mean()


def test_wrists_jitter_more_than_trunks_and_fast_ones_more_than_slow():
    exact, points = noisy(512, masks=0.0)
    seen = points[..., 2] > 0
    box = (exact.amax(2) - exact.amin(2)).amax(-1)
    off = (points[..., :2] - exact).norm(dim=-1) / box[..., None]
    wrist, shoulder = (
        off[..., CANONICAL.index(n)][seen[..., CANONICAL.index(n)]].median() for n in ("LWrist", "LShoulder")
    )
    ratio = HARDNESS[CANONICAL.index("LWrist")] / HARDNESS[CANONICAL.index("LShoulder")]
    assert 1.2 < wrist / shoulder < ratio * 1.1  # constant bias is the same for all
    assert 0.004 < off[seen].median() < 0.02
    fast = exact + torch.arange(27)[:, None, None] * 0.02
    given = (torch.ones(512, 27, 22, dtype=torch.bool), torch.ones(512, 27), torch.full((512,), 50.0))
    moved = detected(fast, *given, Draws(0, torch.arange(512)), masks=0.0)
    off_fast = (moved[..., :2] - fast).norm(dim=-1) / box[..., None]
    assert off_fast[seen].median() > 1.1 * off[seen].median()


def test_bad_varieties_are_refused():
    with pytest.raises(BadInput, match=r"variety\.fps"):
        Variety(fps=(60.0, 15.0))
    with pytest.raises(BadInput, match=r"variety\.masks: expected a share"):
        Variety(masks=1.5)
