import pytest
import torch

from moga_st.data.pose import skeleton
from moga_st.errors import BadInput
from moga_st.models.lifter import BODY_ORDER, JOINT_COUNT, SIZES, JointAttention, Lifter, LifterConfig


def test_the_skeleton_is_the_data_sets():
    assert len(skeleton.JOINTS) == JOINT_COUNT


def test_body_order_puts_bones_side_by_side_and_is_its_own_mirror_image():
    assert sorted(BODY_ORDER) == list(range(17))
    at = {joint: i for i, joint in enumerate(BODY_ORDER)}
    apart = [abs(at[i] - at[j]) for i, j in skeleton.BONES]
    in_file_order = [abs(i - j) for i, j in skeleton.BONES]
    # 13 of 16 bones side by side, where the file's order has 12, and no bone is long
    assert sum(d == 1 for d in apart) > sum(d == 1 for d in in_file_order)
    assert max(apart) < max(in_file_order)
    assert sum(apart) < sum(in_file_order)
    # limbs of the two sides lie symmetrically about the hip and the thorax
    for right, left in zip(skeleton.RIGHT, skeleton.LEFT, strict=True):
        middle = at[0] if right < 7 else at[8]
        assert at[right] - middle == middle - at[left]


@pytest.mark.parametrize(("size", "millions"), [("xs", (0.9, 1.3)), ("s", (2.0, 3.2)), ("b", (5.5, 6.6))])
def test_sizes_are_what_their_names_promise(size, millions):
    count = sum(p.numel() for p in SIZES[size].build().parameters())
    assert millions[0] <= count / 1e6 <= millions[1]


@pytest.mark.parametrize(("frames", "patch"), [(1, 1), (9, 1), (9, 3)])
def test_it_learns_windows_and_single_frames(frames, patch):
    torch.manual_seed(0)
    net = LifterConfig(frames=frames, patch=patch, channels=3, width=16, depth=2).build()
    keypoints, target = torch.randn(4, frames, 17, 3), torch.randn(4, frames, 17, 3)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss = (net(keypoints) - target).norm(dim=-1).mean()
        loss.backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_centre_only_is_the_centre_of_all_frames():
    torch.manual_seed(0)
    whole = LifterConfig(frames=9, width=16, depth=2).build().eval()
    centre = LifterConfig(frames=9, width=16, depth=2, centre_only=True).build().eval()
    centre.load_state_dict(whole.state_dict())
    x = torch.randn(2, 9, 17, 2)
    torch.testing.assert_close(centre(x), whole(x)[:, 4:5])


def idle(config: LifterConfig) -> Lifter:
    """A lifter whose blocks do nothing (and whose attention does nothing before training)."""
    torch.manual_seed(0)
    net = config.build().eval()
    for name, p in net.layers.named_parameters():
        if "scale" in name:
            torch.nn.init.zeros_(p)
    torch.nn.init.zeros_(net.joint)
    return net


def test_body_order_is_undone_at_the_end():
    """Without its blocks the lifter is a map of each joint by itself, whatever the order of the axis; but every joint
    is seen from the hip too."""
    net = idle(LifterConfig(frames=3, width=16, depth=1))
    x = torch.randn(1, 3, 17, 2)
    for joint in (13, 0):
        changed = x.clone()
        changed[:, :, joint] += 1.0
        moves = (net(changed) - net(x)).abs().amax((0, 1, 3))
        assert moves[joint] > 1e-3
        others = moves[[j for j in range(17) if j != joint]]
        assert others.min() > 1e-3 if joint == 0 else others.max() < 1e-6


def test_without_blocks_a_frame_depends_on_the_frames_of_its_position_and_a_neighbours():
    net = idle(LifterConfig(frames=9, width=16, depth=1))
    x = torch.randn(1, 9, 17, 2)
    changed = x.clone()
    changed[:, 4] += 1.0
    moves = (net(changed) - net(x)).abs().amax((0, 2, 3))
    assert moves[2:7].min() > 1e-3
    assert moves[[0, 1, 7, 8]].max() < 1e-6


def test_an_untrained_lifter_interpolates_between_positions():
    net = idle(LifterConfig(frames=9, width=16, depth=1))
    y = net(torch.randn(2, 9, 17, 2))
    for i, j in ((1, 4), (4, 7)):  # the middle frames of positions
        torch.testing.assert_close(y[:, i + 1], (2 * y[:, i] + y[:, j]) / 3)
        torch.testing.assert_close(y[:, i + 2], (y[:, i] + 2 * y[:, j]) / 3)
    torch.testing.assert_close(y[:, 0], y[:, 1])


def test_other_lengths_are_filled_up_with_the_last_frame():
    torch.manual_seed(0)
    net = LifterConfig(frames=9, width=16, depth=1).build().eval()
    x = torch.randn(2, 7, 17, 2)
    filled = torch.cat([x, x[:, -1:], x[:, -1:]], 1)
    torch.testing.assert_close(net(x), net(filled)[:, :7])


def test_a_stray_keypoint_does_not_blow_up():
    """Blocks that have grown strong, batch norms as training left them, and a keypoint a thousand images away."""
    torch.manual_seed(0)
    net = LifterConfig(frames=9, width=16, depth=6).build()
    for name, p in net.layers.named_parameters():
        if "scale" in name:
            torch.nn.init.ones_(p)
    x = torch.rand(8, 9, 17, 2)
    net.train()(x)
    net.eval()
    usual = net(x).abs().max()
    x[0, 4, 13] += 1000.0
    assert net(x).abs().max() < 100 * usual


def test_attention_equals_its_definition():
    torch.manual_seed(0)
    module = JointAttention(8, heads=2).double().eval()
    torch.nn.init.normal_(module.proj.weight)
    x = torch.randn(1, 8, 2, 17, dtype=torch.float64)
    q, k, v = module.qkv(module.norm(x)).split(8, dim=1)
    out = torch.zeros_like(x)
    for h in (slice(0, 4), slice(4, 8)):
        for t in range(2):
            weights = torch.softmax(q[0, h, t].T @ k[0, h, t] / 2.0, dim=-1)
            out[0, h, t] = (weights @ v[0, h, t].T).T
    torch.testing.assert_close(module(x), x + module.proj(out))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": 8}, "expected an odd number, which has a centre, got 8"),
        ({"frames": 25}, "patch: 3 does not divide the 25 frames; 1 always does"),
        ({"patch": 0}, "patch: 0 does not divide"),
        ({"channels": 4}, r"expected 2 \(x, y\) or 3"),
        ({"width": 20}, "positive multiple of 8, got 20"),
        ({"heads": 5}, "heads: 5 does not divide the width, 96"),
    ],
)
def test_wrong_config_is_named(changes, message):
    with pytest.raises(BadInput, match=message):
        LifterConfig(**changes).build()


def test_training_on_other_windows_than_lift_would_use_is_refused():
    net = LifterConfig(frames=9, width=16, depth=1).build()
    assert net.eval()(torch.zeros(1, 5, 17, 2)).shape == (1, 5, 17, 3)
    with pytest.raises(BadInput, match=r"5 frames, but model\.frames is 9"):
        net.train()(torch.zeros(1, 5, 17, 2))


def test_wrong_input_is_named():
    with pytest.raises(BadInput, match=r"expected keypoints \(b, t, 17, 2\), got \(1, 9, 17, 3\)"):
        LifterConfig(width=16, depth=1).build()(torch.zeros(1, 9, 17, 3))
