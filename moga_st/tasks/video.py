"""Video prediction on moving digits: data, loss and evaluation.

Shape legend: ``b`` sequences, ``t`` frames, ``c`` channels, ``h w`` frame size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moga_st import dist
from moga_st.data.video import moving_mnist
from moga_st.data.video.digits import DigitsConfig, MNISTConfig
from moga_st.data.video.moving_mnist import MotionConfig
from moga_st.draw import video as draw
from moga_st.errors import BadInput
from moga_st.metrics import video as metrics
from moga_st.tasks.task import Setting, Split, TaskConfig

# the generator's streams: two fixed ones for evaluation, the same for every seed, and one a seed for training
VAL_STREAM, TEST_STREAM, FIRST_TRAIN_STREAM = 0, 1, 2
PUBLISHED_TEST = "mnist_test_seq.npy"

METRICS = ("mse", "mae", "psnr", "ssim", "ssim_published")
CONVENTIONS = {
    "mse": "mean over sequences and frames of the squared error summed over c, h, w; before clipping",
    "mae": "mean over sequences and frames of the absolute error summed over c, h, w; before clipping",
    "psnr": "mean over frames of -10 log10(per-frame mean squared error), clipped to [0, 1]; dB",
    "ssim": "scikit-image's SSIM with data_range=1, clipped to [0, 1]",
    "ssim_published": "the same with data_range=2, as the published Moving MNIST tables have it",
    "lpips": "LPIPS with AlexNet, clipped to [0, 1]",
}


@dataclass(frozen=True)
class MovingDigitsConfig(TaskConfig, kind="moving_digits"):
    """Predict ``frames_out`` frames of moving digits from ``frames_in``."""

    digits: DigitsConfig = field(default_factory=MNISTConfig)
    """What moves."""
    motion: MotionConfig = field(default_factory=MotionConfig)
    """How it moves."""
    frames_in: int = 10
    """Frames the model sees."""
    frames_out: int = 10
    """Frames it is scored on."""
    val_sequences: int = 1000
    """Validation sequences, from training digits held out; they choose the best checkpoint."""
    test_sequences: int = 10_000
    """Test sequences, from the test digits."""
    eval_batch: int = 64
    """Sequences a batch in evaluation: memory, not results."""
    lpips: bool = False
    """Score LPIPS too on the test set (needs torchvision's AlexNet weights)."""

    def build(self, setting: Setting) -> MovingDigits:
        return MovingDigits(self, setting)


class MovingDigits:
    """The task that :class:`MovingDigitsConfig` describes."""

    monitor = "mse"

    def __init__(self, config: MovingDigitsConfig, setting: Setting):
        if setting.seed < 0:
            raise BadInput(f"seed: expected 0 or more, got {setting.seed}")
        for name in ("frames_in", "frames_out", "val_sequences", "test_sequences", "eval_batch"):
            if getattr(config, name) < 1:
                raise BadInput(f"task.{name}: expected at least 1, got {getattr(config, name)}")
        if config.motion.digits < 1:
            raise BadInput(f"task.motion.digits: expected at least 1, got {config.motion.digits}")
        self.config, self.setting = config, setting
        self.frames = config.frames_in + config.frames_out
        if dist.rank() > 0:
            dist.barrier()  # rank 0 downloads, if anyone has to
        digits = config.digits.load(setting.data_root)
        if dist.rank() == 0:
            dist.barrier()
        self.digits = {s: getattr(digits, s).to(setting.device) for s in ("train", "val", "test")}
        self.published = self._published_test_set()
        test = (
            "generated from the test digits, fixed stream" if self.published is None else f"published {PUBLISHED_TEST}"
        )
        self.data_fingerprint = digits.fingerprint
        self.facts: dict[str, Any] = {
            "digits": digits.source,
            "test_set": f"{config.test_sequences:,} sequences, {test}",
            "conventions": CONVENTIONS,
        }

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Past (b, frames_in, 1, h, w) and future (b, frames_out, 1, h, w) in [0, 1], this rank's share."""
        size = self.setting.batch_size
        part = dist.local_slice(size)
        numbers = index * size + torch.arange(part.start, part.stop, device=self.setting.device)
        return self._split(self._generate("train", numbers))

    def loss(self, net: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Mean squared error over all pixels."""
        past, future = batch
        pred = net(past).float()
        _check(pred, future)
        return F.mse_loss(pred, future)

    @torch.no_grad()
    def evaluate(self, net: nn.Module, split: Split = "val") -> dict[str, float]:
        """Metrics of ``net`` and of the copy-last-frame baseline.

        Returns:
            ``{metric}``, ``copy_last/{metric}``: means over sequences and frames; and
            ``{metric}/frame/{i}``, ``copy_last/{metric}/frame/{i}``: means at lead time i = 1 to frames_out.
        """
        was_training = net.training
        net.eval()
        lpips = metrics.LPIPS(self.setting.device) if self.config.lpips and split == "test" else None
        names = (*METRICS, *(["lpips"] if lpips else []))
        zero = torch.zeros(self.config.frames_out, dtype=torch.float64, device=self.setting.device)
        sums = {prefix + name: zero.clone() for prefix in ("", "copy_last/") for name in names}
        total = self.config.test_sequences if split == "test" else self.config.val_sequences
        for past, future in self._eval_batches(split, total):
            last = past[:, -1:].expand_as(future)
            for prefix, pred in (("", net(past).float()), ("copy_last/", last)):
                _check(pred, future)
                for name, values in _score(pred, future, lpips).items():
                    sums[prefix + name] += values.sum(0)
        net.train(was_training)
        curves = dist.sum_over_ranks(torch.stack(list(sums.values()))) / total
        result = dict(zip(sums, curves.mean(1).tolist(), strict=True))
        for name, curve in zip(sums, curves.tolist(), strict=True):
            result.update({f"{name}/frame/{i}": value for i, value in enumerate(curve, 1)})
        return result

    @torch.no_grad()
    def draw(self, net: nn.Module, folder: Path, split: Split = "test") -> list[Path]:
        """The best, median and worst by MSE of the first sequences (256 at most), as PNG and GIF."""
        was_training = net.training
        net.eval()
        pasts, futures, preds = [], [], []
        total = self.config.test_sequences if split == "test" else self.config.val_sequences
        for past, future in self._eval_batches(split, min(256, total)):
            pasts.append(past.cpu())
            futures.append(future.cpu())
            preds.append(net(past).float().cpu())
        net.train(was_training)
        past, future, pred = torch.cat(pasts), torch.cat(futures), torch.cat(preds)
        error = metrics.mse(pred, future).mean(1)
        order = error.argsort()
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for name, i in (("best", order[0]), ("median", order[len(order) // 2]), ("worst", order[-1])):
            title = f"{name} of {len(order)}, MSE {error[i]:.1f}"
            paths += draw.save_prediction(folder / name, past[i].numpy(), pred[i].numpy(), future[i].numpy(), title)
        return paths

    def sequences(self, split: Literal["train"] | Split, first: int, last: int) -> Tensor:
        """Sequences number ``first`` to ``last`` - 1: uint8 (b, frames_in + frames_out, 1, h, w)."""
        if split == "test" and self.published is not None:
            clips = torch.from_numpy(np.ascontiguousarray(self.published[: self.frames, first:last]))
            return clips.to(self.setting.device).transpose(0, 1)[:, :, None]
        return self._generate(split, torch.arange(first, last, device=self.setting.device))

    def _generate(self, split: Literal["train"] | Split, numbers: Tensor) -> Tensor:
        stream = {"val": VAL_STREAM, "test": TEST_STREAM, "train": FIRST_TRAIN_STREAM + self.setting.seed}[split]
        digits = self.digits[split]
        draws = moving_mnist.draw(stream, numbers, self.config.motion, len(digits))
        return moving_mnist.render(digits, draws, self.config.motion, self.frames)

    def _split(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(b, t, 1, h, w) uint8 -> past and future in [0, 1]."""
        frames = frames.float() / 255.0
        return frames[:, : self.config.frames_in], frames[:, self.config.frames_in :]

    def _eval_batches(self, split: Split, total: int) -> Iterator[tuple[Tensor, Tensor]]:
        """This rank's share of each batch, in order; the last batch is as short as it has to be."""
        for first in range(0, total, self.config.eval_batch):
            part = dist.local_slice(min(self.config.eval_batch, total - first))
            start, stop = first + part.start, first + part.stop
            if start == stop:
                continue
            yield self._split(self.sequences(split, start, stop))

    def _published_test_set(self) -> np.ndarray | None:
        """The published test file (20, 10000, 64, 64), memory-mapped, where it applies and is there."""
        path = self.setting.data_root / PUBLISHED_TEST
        applies = isinstance(self.config.digits, MNISTConfig) and self.config.motion == MotionConfig()
        if not (applies and self.frames <= 20 and path.is_file()):
            return None
        try:
            clips = np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise BadInput(
                f"{path}: cannot be read as a .npy file ({error}); fetch it again or move it away"
            ) from error
        if clips.dtype != np.uint8 or clips.shape != (20, 10_000, 64, 64):
            raise BadInput(
                f"{path}: expected uint8 (20, 10000, 64, 64), got {clips.dtype} {clips.shape}; "
                "fetch it again or move it away"
            )
        if self.config.test_sequences > clips.shape[1]:
            raise BadInput(f"task.test_sequences {self.config.test_sequences}: {path} holds {clips.shape[1]:,}")
        return clips


def _check(pred: Tensor, future: Tensor) -> None:
    if pred.shape != future.shape:
        raise BadInput(
            f"the model predicts frames of shape {tuple(pred.shape)}, the task has {tuple(future.shape)}; "
            "model.frames_out must be task.frames_out"
        )


def _score(pred: Tensor, true: Tensor, lpips: metrics.LPIPS | None) -> dict[str, Tensor]:
    """All metrics, (b, t) each."""
    scores = {
        "mse": metrics.mse(pred, true),
        "mae": metrics.mae(pred, true),
        "psnr": metrics.psnr(pred, true),
        "ssim": metrics.ssim(pred, true),
        "ssim_published": metrics.ssim(pred, true, metrics.SSIM_RANGE_PUBLISHED),
    }
    if lpips is not None:
        scores["lpips"] = lpips(pred, true)
    return scores
