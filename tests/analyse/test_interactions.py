"""Against exact enumeration, and against functions whose interactions are known in closed form."""

import dataclasses
import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from moga_st.analyse.interactions import (
    Game,
    clip_game,
    differences,
    image_game,
    interactions,
    log_odds,
    pose_game,
    strengths,
    subsets,
    without,
)
from moga_st.cli import main
from moga_st.errors import BadInput
from moga_st.models.moganet import MogaNetConfig
from moga_st.pretrained import export_weights
from moga_st.spec import InputSpec

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
NET = MogaNetConfig((8, 8, 8, 8), (1, 1, 1, 1), (2.0, 2.0, 2.0, 2.0), channels=3, classes=3, stem_stride=1)


def product(*players: int) -> Game:
    """1 where all of some players are there, of 6."""
    return Game(6, lambda kept: kept[:, list(players)].all(1).double())


def tiny_net() -> nn.Module:
    torch.manual_seed(0)
    net = NET.build()
    for p in net.parameters():
        nn.init.normal_(p, std=0.3)
    return net.eval()


def test_a_small_grid_is_the_plain_enumeration():
    """Every context of every pair, one network call each, by the definition."""
    net, label = tiny_net().double(), 2
    image = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    players = range(4)  # 2 x 2 patches

    @torch.no_grad()
    def f(present) -> float:
        x = torch.zeros_like(image)
        for p in present:
            rows, columns = slice(4 * (p // 2), 4 * (p // 2) + 4), slice(4 * (p % 2), 4 * (p % 2) + 4)
            x[:, rows, columns] = image[:, rows, columns]
        share = net(x[None]).softmax(1)[0, label]
        return math.log(share / (1 - share))

    sizes: dict[int, list[float]] = {m: [] for m in range(3)}
    for i, j in itertools.combinations(players, 2):
        for m in sizes:
            contexts = itertools.combinations(set(players) - {i, j}, m)
            each = [f({*s, i, j}) - f({*s, i}) - f({*s, j}) + f(s) for s in contexts]
            sizes[m].append(abs(sum(each) / len(each)))
    slow = np.array([np.mean(sizes[m]) for m in range(3)])
    found = interactions([image_game(net, image, label, grid=2)], shares=(0, 0.5, 1), pairs=100, contexts=100, batch=7)
    assert (found.orders, found.pairs, found.players) == ([0, 1, 2], 6, 4)
    np.testing.assert_allclose(found.strength, slow / slow.mean(), rtol=1e-6)


def test_a_product_of_k_players_has_its_closed_form():
    """Of a pair within the product the context must hold the other k - 2: C(n - k, m - k + 2) / C(n - 2, m)."""
    for k in (2, 3, 4, 6):
        game, n = product(*range(k)), 6
        for m in range(n - 1):
            sets = [subsets(np.random.default_rng(0), n - 2, m, 1000)]
            expected = math.comb(n - k, m - k + 2) / math.comb(n - 2, m) if m >= k - 2 else 0.0
            assert differences(game, 0, 1, sets, 8)[0].mean() == pytest.approx(expected)
            if k < n:
                assert not differences(game, 0, n - 1, sets, 8)[0].any()  # a player outside acts with nobody


def test_pairs_alone_act_alike_in_every_context_and_sums_not_at_all():
    """f = (sum of a_i there)^2: I(m, i, j) = 2 a_i a_j whatever the order; f = sum of a_i: 0."""
    a = torch.tensor([1.0, -2.0, 0.5, 3.0, 1.5, 0.1], dtype=torch.float64)
    flat = interactions([Game(6, lambda kept: (kept.double() @ a).square())], shares=SHARES, pairs=15, contexts=4)
    np.testing.assert_allclose([*flat.strength, *flat.low, *flat.high], 1.0, rtol=1e-9)
    each = differences(Game(6, lambda kept: kept.double() @ a), 0, 1, [subsets(np.random.default_rng(0), 4, 2, 9)], 9)
    np.testing.assert_allclose(each[0], 0.0, atol=1e-12)
    whole = interactions([product(*range(6))], shares=SHARES)
    assert whole.strength == [0, 0, 0, 0, 5]  # only with all the others there
    still = interactions([Game(6, lambda kept: torch.zeros(len(kept)))], shares=SHARES)
    assert still.strength == [0] * 5


def test_a_network_of_known_interactions():
    """Two classes, whose log-odds are the square of the image's sum: I(m, i, j) = 2 (sum of patch i) (sum of j)."""

    class Square(nn.Module):
        def forward(self, x):
            s = x.sum((1, 2, 3)).square()
            return torch.stack([torch.zeros_like(s), s], 1)

    image = torch.arange(36.0).view(1, 6, 6) / 36
    game = image_game(Square(), image, 1, grid=3)
    sums = image.view(3, 2, 3, 2).sum((1, 3)).flatten()
    for i, j in ((0, 8), (3, 4)):
        sets = [subsets(np.random.default_rng(0), 7, m, 5) for m in (0, 3, 7)]
        for each in differences(game, i, j, sets, 3):
            np.testing.assert_allclose(each, float(2 * sums[i] * sums[j]), rtol=1e-4)
    odds = log_odds(torch.tensor([[1.0, 3.0, -2.0]]), 0)
    share = torch.tensor([1.0, 3.0, -2.0]).double().softmax(0)[0]
    torch.testing.assert_close(odds[0], torch.logit(share))


def test_contexts_differ_and_samples_come_near_the_exact_mean():
    rng = np.random.default_rng(0)
    some = subsets(rng, 12, 5, 40)
    assert some.shape == (40, 12)
    assert (some.sum(1) == 5).all()
    assert len(np.unique(some, axis=0)) == 40
    assert len(subsets(rng, 6, 3, 20)) == 20  # all of them
    game = Game(14, lambda kept: (kept.double().sum(1) / 14) ** 3)
    sampled, exact = (interactions([game], shares=(0, 0.5, 1), pairs=8, contexts=c) for c in (30, 1000))
    np.testing.assert_allclose(sampled.strength, exact.strength, rtol=1e-9)  # it depends on sizes alone


def test_intervals_are_those_of_a_mean_over_inputs():
    """A wide spread over inputs gives a wide interval, which holds the true value about 95 times in 100."""
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(100):
        sizes = [np.stack([1 + rng.uniform(-0.5, 0.5, 3), np.ones(3)], 1) for _ in range(20)]
        strength, low, high = strengths(sizes, seed)
        assert (low <= strength).all()
        assert (strength <= high).all()
        held += low[0] <= 1.0 <= high[0]
    assert 85 <= held <= 100


def test_a_budget_ends_the_work_and_numbers_follow_from_the_seed():
    games = [product(0, 1, 2), product(1, 2, 3)]
    once, again = (interactions(games, contexts=3, pairs=5, seed=4) for _ in range(2))
    assert dataclasses.replace(once, seconds=0) == dataclasses.replace(again, seconds=0)
    assert interactions(games, contexts=3, pairs=5, seconds=1e-9).pairs == 2  # a pair of each
    wrong: dict[str, Any]
    for wrong in ({"pairs": 0}, {"contexts": 0}, {"seconds": 0}, {"shares": (1.2,)}):
        with pytest.raises(BadInput, match="expected"):
            interactions(games, **wrong)
    with pytest.raises(BadInput, match="of one number of parts"):
        interactions([product(0), Game(5, product(0).value)])


def test_what_is_left_out_of_a_clip_and_of_a_pose():
    kept = torch.tensor([[True, False, False, True]])
    x = torch.ones(2, 1, 5, 5)
    assert without(x, kept, 2)[0, 1, 0].tolist() == [[1, 1, 1, 0, 0]] * 3 + [[0, 0, 0, 1, 1]] * 2
    with pytest.raises(BadInput, match="grid: expected 2 to 5"):
        without(x, kept, 6)

    class Sum(nn.Module):  # of all that was seen, at every place of two frames
        def forward(self, clip):
            return clip.sum((1, 3, 4), keepdim=True).expand(-1, 2, -1, 4, 4)

    past, truth = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 1, 4, 4)
    game = clip_game(Sum(), past, truth, frame=2, grid=2)
    all_there = game.value(torch.ones(1, 4, dtype=torch.bool))
    assert all_there.item() == pytest.approx(past.sum().item() ** 2, rel=1e-5)
    nothing = game.value(torch.zeros(1, 4, dtype=torch.bool))
    assert nothing.item() == pytest.approx((past.mean() * past.numel()).item() ** 2, rel=1e-5)
    with pytest.raises(BadInput, match="frame: expected 1 to 2"):
        clip_game(Sum(), past, truth, frame=3)

    class Mean(nn.Module):  # of x over what is seen of joint 3, as every joint's x
        def forward(self, points):
            out = torch.zeros(len(points), points.shape[1], 17, 3)
            out[..., 0] = points[:, :, 3:4, 0].mean(1, keepdim=True)
            return out

    points = torch.rand(5, 17, 3, generator=torch.Generator().manual_seed(0))
    game = pose_game(Mean(), points, torch.zeros(5, 17, 3), joint=0, pieces=2)
    kept = torch.ones(1, 34, dtype=torch.bool)
    assert game.players == 34
    assert game.value(kept).item() == pytest.approx(points[:, 3, 0].mean().item())
    kept[0, 17 + 3] = False  # its second half: frames 3 and 4
    middle = points[..., 0].mean()
    assert game.value(kept).item() == pytest.approx(((points[:3, 3, 0].sum() + 2 * middle) / 5).item())
    with pytest.raises(BadInput, match="a joint below 17"):
        pose_game(Mean(), points, points, joint=17)


def test_the_verb_compares_classifiers_on_a_folder_of_classes(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name in ("cat", "cow", "dog"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(tmp_path / "set" / name / f"{i}.png")
    spec = InputSpec((3, 32, 32), (3,), ("red", "green", "blue"), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    facts = {"facts": {"classes": ["cat", "dog", "cow"], "test_view": {"size": [32, 32], "crop": 0.8}}}
    export_weights(tmp_path / "w.safetensors", tiny_net(), NET, facts, spec=spec)
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("test_convnext", num_classes=3)
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "t.pth")
    models = [str(tmp_path / "w.safetensors"), f"timm:test_convnext@{tmp_path / 't.pth'}"]
    flags = ["--images", str(tmp_path / "set"), "--examples", "3", "--pairs", "2", "--contexts", "2", "--grid", "3"]
    with pytest.raises(SystemExit) as leave:
        main(["interactions", *models, *flags, "--out", str(tmp_path / "o" / "j")])
    assert leave.value.code == 0, capsys.readouterr().err
    record = json.loads((tmp_path / "o" / "j.json").read_text())
    for one in record["strength"].values():
        assert (one["players"], one["inputs"], one["pairs"]) == (9, 3, 6)
        assert np.mean(one["strength"]) == pytest.approx(1)
    picture = np.asarray(Image.open(tmp_path / "o" / "j.png")).reshape(-1, 3)
    for colour in ((0, 95, 190), (230, 140, 0)):  # both curves are there
        assert (np.abs(picture.astype(int) - colour).max(1) < 12).sum() > 100
    out = capsys.readouterr().out
    assert out.startswith("J(m), with the 95 % interval\n")

    def refused(arguments: list[str], message: str) -> None:
        with pytest.raises(SystemExit) as leave:
            main(["interactions", *arguments])
        assert leave.value.code == 2
        err = capsys.readouterr().err.strip().splitlines()[-1]
        assert message in err

    refused([models[1]], "name a folder of images")
    refused(["timm:convnext_ato", *flags], "did you mean 'convnext_atto'")
    refused([f"timm:test_vit@{tmp_path / 't.pth'}", *flags], "t.pth")
    (tmp_path / "set" / "horse").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "set" / "horse" / "x.png")
    refused([models[0], *flags], "by the names that the weights know")
    refused([models[0], "--grid", "3"], "name a recipe with --recipe")
