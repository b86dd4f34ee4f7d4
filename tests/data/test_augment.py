import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from moga_st.data.augment import (
    Look,
    MixConfig,
    ShiftConfig,
    TimmAugmentConfig,
    augmented,
    evaluation,
    mixed,
    shifted,
    transform,
)
from moga_st.errors import BadInput

LOOK = Look(16, 16, 0.8, (0.5, 0.4, 0.3), (0.2, 0.25, 0.5))


def test_evaluation_is_timms_own_view():
    factory = pytest.importorskip("timm.data.transforms_factory")
    rng = np.random.default_rng(0)
    for h, w in ((40, 60), (33, 20), (16, 16), (21, 100)):
        pixels = rng.integers(0, 255, (h, w, 3), np.uint8)
        theirs = factory.create_transform(
            (3, 16, 16), crop_pct=0.8, interpolation="bicubic", mean=LOOK.mean, std=LOOK.std
        )
        torch.testing.assert_close(evaluation(LOOK)(pixels), theirs(Image.fromarray(pixels)))


@pytest.mark.parametrize("policy", ["rand-m9-mstd0.5-inc1", "3a", None])
def test_an_augmented_image_belongs_to_its_number(policy):
    pytest.importorskip("timm")
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    apply = transform(LOOK, TimmAugmentConfig(policy, jitter=0.3, erase=0.5))
    first = [augmented(pixels, apply, 0, i) for i in range(6)]
    _ = torch.rand(3), random.random(), np.random.rand()  # whatever else has been drawn
    again = [augmented(pixels, apply, 0, i) for i in reversed(range(6))]
    for a, b in zip(first, reversed(again), strict=True):
        assert np.array_equal(a, b)
    assert first[0].shape == (3, 16, 16)
    assert len({a.tobytes() for a in first}) == 6
    assert not np.array_equal(augmented(pixels, apply, 1, 0), first[0])


def test_processes_end_with_the_one_they_work_for(tmp_path):
    pytest.importorskip("timm")
    script = tmp_path / "waits.py"
    script.write_text(
        "import time\nimport numpy as np\nfrom moga_st.data.augment import Look, TimmAugment, TimmAugmentConfig\n"
        "from moga_st.data.images import Part\n"
        "if __name__ == '__main__':\n"
        "    look = Look(16, 16, 0.8, (0.5, 0.4, 0.3), (0.2, 0.25, 0.5))\n"
        "    part = Part(np.zeros(2, int), array=np.zeros((2, 20, 20, 3), np.uint8))\n"
        "    TimmAugment(part, look, TimmAugmentConfig(), 0)(np.arange(2), np.arange(2))\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(600)\n"
    )
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    run = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path})
    assert run.stdout is not None
    assert run.stdout.readline() == b"ready\n"
    run.kill()
    assert run.communicate(timeout=120)[0] == b""  # the pipe ends when the last of them has


def test_shifts_move_mirror_and_erase():
    """Every result is the slow version of one of the 9 moves, mirrored or not, with one square set to 0."""
    torch.manual_seed(0)
    image = torch.rand(1, 2, 5, 6) + 1.0
    black = image.amin((0, 2, 3))
    candidates = {}
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            moved = black[:, None, None].expand(2, 7, 8).clone()
            moved[:, 1:6, 1:7] = image[0]
            moved = moved[:, 1 + dy : 6 + dy, 1 + dx : 7 + dx]
            candidates[dy, dx, False], candidates[dy, dx, True] = moved, moved.flip(2)
    seen = set()
    n = 400
    config = ShiftConfig(pixels=1, flip=True, erase=0)
    out = shifted(image.expand(n, -1, -1, -1), torch.arange(n), config, 3)
    for x in out:
        same = [k for k, v in candidates.items() if torch.allclose(v, x)]
        assert len(same) == 1
        seen.add(same[0])
    assert len(seen) == 18
    part = shifted(image.expand(2, -1, -1, -1), torch.tensor([7, 9]), config, 3)
    assert torch.equal(part, out[[7, 9]])
    erased = shifted(image.expand(n, -1, -1, -1), torch.arange(n), ShiftConfig(1, True, erase=2), 3)
    holes = (erased == 0).all(1)
    assert torch.equal(erased[~holes[:, None].expand_as(erased)], out[~holes[:, None].expand_as(out)])
    assert holes.flatten(1).sum(1).max() == 4
    assert 2.5 < holes.flatten(1).sum(1).float().mean() < 4


def test_mixup_and_cutmix_mix_targets_as_they_mix_pixels():
    """Images of one colour each, and targets as the share of each colour."""
    colours = torch.eye(4)
    images = colours[:, :, None, None].expand(4, 4, 8, 10)
    config, kinds = MixConfig(mixup=0.4, cutmix=1.0), []
    for index in range(60):
        draw = config.draw(5, index, 8, 10)
        assert torch.equal(draw, config.draw(5, index, 8, 10))
        x, y = mixed(images, colours, draw)
        torch.testing.assert_close(x.mean((2, 3)), y, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(y.sum(1), torch.ones(4))
        assert (y[0, 2:] == 0).all()  # 0 with 1, 2 with 3
        half = mixed(images[2:], colours[2:], draw)  # as another process would do
        assert torch.equal(half[0], x[2:])
        kinds.append(bool(draw[1]))
        if kinds[-1]:
            assert set(x.unique().tolist()) <= {0.0, 1.0}
    assert 15 < sum(kinds) < 45
    x, y = mixed(images, colours, MixConfig().draw(0, 0, 8, 10))
    assert torch.equal(x, images)
    assert torch.equal(y, colours)
    assert torch.equal(mixed(images[:3], colours[:3], config.draw(5, 0, 8, 10))[1][2], colours[2])
    with pytest.raises(BadInput, match="0 or more"):
        MixConfig(mixup=-1)


def test_the_shares_are_betas():
    shares = [MixConfig(mixup=0.8).draw(0, i, 8, 8)[0].item() for i in range(3000)]
    assert abs(np.mean(shares) - 0.5) < 0.02
    assert abs(np.var(shares) - 1 / (4 * 2.6)) < 0.006  # of Beta(a, a): 1 / (4 (2 a + 1))
