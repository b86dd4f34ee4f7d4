import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from moga_st.data.video.digits import TEST_IMAGES, TRAIN_IMAGES, FashionMNISTConfig, MNISTConfig
from moga_st.data.video.moving_mnist import MotionConfig
from moga_st.errors import BadInput
from moga_st.tasks.moving_digits import MovingDigits, MovingDigitsConfig
from moga_st.tasks.task import Setting
from moga_st.tasks.video import MadeOnDevice, VideoPrediction
from tests.data.video.test_digits import idx

PUBLISHED_TEST = "mnist_test_seq.npy"
CONFIG = MovingDigitsConfig(val_sequences=3, test_sequences=5, eval_batch=2)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A data root with idx files of random images, whose checksums stand in for MNIST's."""
    rng = np.random.default_rng(0)
    content = {name: idx(rng.integers(0, 256, (24, 28, 28), np.uint8)) for name in (TRAIN_IMAGES, TEST_IMAGES)}
    for name, raw in content.items():
        (tmp_path / name).write_bytes(raw)
    monkeypatch.setattr(MNISTConfig, "sha256", {k: hashlib.sha256(v).hexdigest() for k, v in content.items()})
    return tmp_path


def build(root: Path, seed: int = 0, batch_size: int = 4, **changes) -> VideoPrediction:
    return dataclasses.replace(CONFIG, **changes).build(Setting(torch.device("cpu"), root, seed, batch_size))


class CopyLast(nn.Module):
    def forward(self, past: torch.Tensor) -> torch.Tensor:
        return past[:, -1:].expand(-1, 10, -1, -1, -1)


def published(root: Path, shape: tuple[int, ...] = (20, 10_000, 64, 64), where: str = PUBLISHED_TEST) -> np.ndarray:
    """A sparse file in the layout of the published test set; only its first sequences hold anything."""
    (root / where).parent.mkdir(exist_ok=True)
    clips = np.lib.format.open_memmap(root / where, "w+", np.uint8, shape)
    clips[:, :5] = np.random.default_rng(1).integers(0, 256, (20, 5, *shape[2:]), np.uint8)
    clips.flush()
    return np.array(clips[:, :5])


def test_the_published_test_set_is_used_where_it_is(root):
    clips = published(root)
    task = build(root)
    assert PUBLISHED_TEST in task.facts["test_set"]
    frames = clips.astype(np.float64).transpose(1, 0, 2, 3) / 255
    expected = ((frames[:, 10:] - frames[:, 9:10]) ** 2).sum((2, 3)).mean()
    scores = task.evaluate(CopyLast(), "test")
    assert scores["mse"] == pytest.approx(expected, rel=1e-6)
    assert scores.baselines["copy last"]["mse"] == scores["mse"]
    # validation stays what it was: generated from held-out training digits
    assert task.evaluate(CopyLast(), "val") == build_without(root).evaluate(CopyLast(), "val")


def build_without(root: Path) -> VideoPrediction:
    (root / PUBLISHED_TEST).unlink()
    task = build(root)
    assert "generated" in task.facts["test_set"]
    return task


@pytest.mark.parametrize("changes", [{"motion": MotionConfig(digits=3)}, {"frames_out": 15}])
def test_the_published_test_set_is_not_used_for_another_task(root, changes):
    published(root)
    assert "generated" in build(root, **changes).facts["test_set"]


def test_a_wrong_published_file_is_named(root):
    published(root, (20, 9, 64, 64))
    with pytest.raises(BadInput, match=r"mnist_test_seq\.npy: expected uint8 \(20, 10000, 64, 64\), got uint8"):
        build(root)
    (root / PUBLISHED_TEST).write_bytes(b"junk")
    with pytest.raises(BadInput, match=r"mnist_test_seq\.npy: cannot be read as \.npy"):
        build(root)


@pytest.mark.parametrize(
    ("config", "images", "sequences"),
    [
        (MNISTConfig, "moving_mnist", "moving_mnist/mnist_test_seq.npy"),  # OpenSTL
        (FashionMNISTConfig, "moving_fmnist", "moving_fmnist/fmnist_test_seq.npy"),
        (MNISTConfig, "MNIST/raw", "MovingMNIST/mnist_test_seq.npy"),  # torchvision
        (FashionMNISTConfig, "FashionMNIST/raw", None),
    ],
)
def test_layouts_of_openstl_and_torchvision_are_found(root, monkeypatch, config, images, sequences):
    """OpenSTL's folder has no test images, since its test set is a file of sequences."""
    monkeypatch.setattr(FashionMNISTConfig, "sha256", MNISTConfig.sha256)
    (root / images).mkdir(parents=True)
    (root / TRAIN_IMAGES).rename(root / images / TRAIN_IMAGES)
    if "raw" in images:
        (root / TEST_IMAGES).rename(root / images / TEST_IMAGES)
    else:
        (root / TEST_IMAGES).unlink()
        with pytest.raises(BadInput, match=f"no test set: .* 0 test images .*put {TEST_IMAGES}"):
            build(root, digits=config())
    if sequences is None:
        task = build(root, digits=config())
        assert "generated" in task.facts["test_set"]
    else:
        clips = published(root, where=sequences)
        task = build(root, digits=config())
        assert task.facts["test_set"] == f"5 sequences, published {Path(sequences).name}"
        scored = (task.sequences("test", 1, 3)[:, :, 0] * 255).round().numpy()
        np.testing.assert_array_equal(scored, clips[:, 1:3].transpose(1, 0, 2, 3))
    place = f"{images} in the data root" if images not in ("", ".") else "the data root"
    assert f"24 training and {24 if 'raw' in images else 0} test images from {place}" in task.facts["digits"]
    assert str(root) not in str(task.facts)  # they go into weights that are given away
    # what trains and validates is drawn from the training images alone, wherever they lie
    assert task.sequences("train", 0, 2).max() > 0.5
    assert task.sequences("val", 0, 2).max() > 0.5


def test_splits_and_seeds_give_different_sequences_of_their_own_digits(root):
    task = build(root)
    val, test = (task.sequences(split, 0, 4) for split in ("val", "test"))
    train, other = task.sequences("train", 0, 4), build(root, seed=1).sequences("train", 0, 4)
    for a, b in ((val, test), (train, val), (train, other)):
        assert not torch.equal(a, b)
    torch.testing.assert_close(build(root, seed=1).sequences("test", 0, 4), test, rtol=0, atol=0)
    # with one digit in the middle of a frame, the frame is that digit
    for split in ("train", "val", "test"):
        single = build(root, motion=MotionConfig(frame_size=28, digits=1))
        frame = (single.sequences(split, 0, 1)[0, 0, 0] * 255).round()
        assert isinstance(single.data, MovingDigits)
        assert (single.data.digits[split] == frame).all((1, 2)).any()


def test_what_is_made_is_the_definition(root):
    data = build(root, motion=MotionConfig(frame_size=40)).data
    assert isinstance(data, MovingDigits)
    assert isinstance(data, MadeOnDevice)
    numbers = np.array([5, 0, 7])
    for split in ("train", "val", "test"):
        np.testing.assert_array_equal(data.make(split, torch.from_numpy(numbers)), data.make_slowly(split, numbers))


def test_batches_follow_each_other_without_overlap(root):
    small, large = build(root, batch_size=2), build(root, batch_size=4)
    halves = [
        torch.cat(parts) for parts in zip(small.batch(torch.tensor(2)), small.batch(torch.tensor(3)), strict=True)
    ]
    for a, b in zip(halves, large.batch(torch.tensor(1)), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    past, future = large.batch(torch.tensor(0))
    assert past.shape == future.shape == (4, 10, 1, 64, 64)
    assert past.max() == 1.0


def test_evaluation_leaves_the_network_in_its_mode(root):
    net = CopyLast().train()
    build(root).evaluate(net)
    assert net.training


@pytest.mark.parametrize("name", ["frames_in", "frames_out", "val_sequences", "test_sequences", "eval_batch"])
def test_fields_out_of_range_are_named(root, name):
    with pytest.raises(BadInput, match=f"task.{name}: expected at least 1, got 0"):
        build(root, **{name: 0})
