import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from moga_st.data.video.digits import MNISTConfig
from moga_st.data.video.image_sets import ImageSet
from moga_st.data.video.moving_mnist import MotionConfig, draw, render_slowly
from moga_st.data.video.photographs import PhotographsConfig
from moga_st.tasks.mnist_cifar import MNISTCIFAR, MNISTCIFARConfig, enlarge
from moga_st.tasks.task import Setting
from tests.tiny import BlobsConfig


@dataclass(frozen=True)
class NoiseConfig(PhotographsConfig):
    def load(self, root: Path) -> ImageSet:  # noqa: ARG002
        images = torch.randint(0, 200, (12, 3, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
        digest = hashlib.sha256(images.numpy().tobytes()).hexdigest()[:16]
        return ImageSet(images[:6], images[6:9], images[9:], "noise", digest)


def source(root: Path, **changes) -> MNISTCIFAR:
    given = {"digits": BlobsConfig(brightness=90), "motion": MotionConfig(frame_size=16), **changes}
    config = MNISTCIFARConfig(photographs=NoiseConfig(), frames_in=2, frames_out=3, test_sequences=4, **given)
    return config.data(Setting(torch.device("cpu"), root, seed=3))


def test_sequences_are_the_definition(tmp_path):
    data = source(tmp_path)
    numbers = torch.arange(5)
    frames = data.frames("train", numbers, None)
    assert frames.shape == (5, 5, 3, 16, 16)
    assert data.spec(2, 3).channels == ("red", "green", "blue")
    # slowly: black and white digits of the same draws as Moving MNIST's, over a photograph that stands still
    digits = np.where(BlobsConfig(brightness=90).load(tmp_path).train.numpy() > 1, 255, 0).astype(np.uint8)
    moving = render_slowly(
        digits, draw(data.stream("train"), numbers, data.config.motion, len(digits)), data.config.motion, 5
    )
    photographs = [enlarge(p[None], 16)[0].numpy() for p in NoiseConfig().load(tmp_path).train]
    chosen = set()
    for clip, digit in zip((frames * 255).round().numpy().astype(np.uint8), moving, strict=True):
        fitting = [
            i
            for i, p in enumerate(photographs)
            if all(
                np.array_equal(f, np.maximum(np.broadcast_to(d, p.shape), p)) for f, d in zip(clip, digit, strict=True)
            )
        ]
        assert len(fitting) == 1
        chosen |= set(fitting)
    assert len(chosen) > 1


def test_splits_share_no_photograph_and_batches_do_not_matter(tmp_path):
    data = source(tmp_path)
    whole = data.frames("test", torch.arange(4), None)
    assert torch.equal(whole[2:], data.frames("test", torch.arange(2, 4), None))
    assert not torch.equal(whole, data.frames("val", torch.arange(4), None))
    assert "noise" in data.source
    assert "noise" in data.facts["photographs"]


def test_what_is_made_is_the_definition(tmp_path):
    data, numbers = source(tmp_path), np.array([2, 9])
    np.testing.assert_array_equal(data.make("train", torch.from_numpy(numbers)), data.make_slowly("train", numbers))


def test_the_published_test_file(tmp_path):
    published = np.random.default_rng(0).integers(0, 256, (20, 4, 64, 64, 3), np.uint8)
    (tmp_path / "moving_mnist").mkdir()
    np.save(tmp_path / "moving_mnist" / "mnist_cifar_test_seq.npy", published)
    assert source(tmp_path).published is None  # other digits and sizes are another set

    @dataclass(frozen=True)
    class Digits(MNISTConfig):
        def load(self, root):
            return BlobsConfig().load(root)

    data = source(tmp_path, digits=Digits(), motion=MotionConfig())
    assert "mnist_cifar_test_seq.npy" in data.facts["test_set"]
    numbers = np.array([1, 3])
    frames = data.frames("test", torch.from_numpy(numbers), data.fetch("test", numbers))
    np.testing.assert_allclose(frames[1, 4].numpy() * 255, published[4, 3].transpose(2, 0, 1), atol=1e-4)
    assert data.fetch("val", numbers) is None
