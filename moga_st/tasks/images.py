"""Image classification: loss, evaluation and examples, on any source of images with classes.

Shape legend: ``b`` images, ``c`` channels, ``h w`` image size, ``n`` classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moga_st import dist
from moga_st.analyse.interactions import Game, image_game
from moga_st.data.augment import (
    AugmentConfig,
    Look,
    MixConfig,
    ShiftConfig,
    TimmAugment,
    TimmAugmentConfig,
    evaluation,
    mixed,
    shifted,
)
from moga_st.data.images import FolderConfig, ImagesConfig
from moga_st.draw.images import ClassifiedImage
from moga_st.errors import BadInput
from moga_st.scores import Score, Scores
from moga_st.spec import InputSpec
from moga_st.tasks.task import Example, Setting, Split, TaskConfig, at_least_1, number_of, spread

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of red, green and blue that everyone in this field takes."""
CONVENTIONS = {
    "top1": "per cent of images whose class has the highest score",
    "top5": "per cent of images whose class is among the five highest",
    "error": "100 - top1",
    "loss": "cross-entropy of the true class, natural logarithm",
}
MOST_CLASSES_SHOWN = 100


@dataclass(frozen=True)
class ClassificationConfig(TaskConfig, kind="classification"):
    """Tell images' classes.

    Raises:
        BadInput: a number out of range.
    """

    data: ImagesConfig = field(default_factory=FolderConfig)
    """Where images and classes come from."""
    augment: AugmentConfig = field(default_factory=TimmAugmentConfig)
    """What is done to training images."""
    mix: MixConfig = field(default_factory=MixConfig)
    """Mixup and CutMix."""
    size: int | None = 224
    """Side of the square that training images are cropped to; null for images that have one size, as they are."""
    test_size: int | None = None
    """Side in evaluation; null for `size`."""
    crop: float = 0.9
    """Share of the shorter side that the centre crop of evaluation has."""
    loss: Literal["ce", "bce"] = "ce"
    """Cross-entropy, or binary cross-entropy of every class, whose targets are 1 above `bce_threshold`."""
    smoothing: float = 0.1
    """Share of the target that is spread over all classes (cross-entropy)."""
    bce_threshold: float = 0.2
    """See `loss`; RSB's value (arXiv 2110.00476)."""
    precise_bn: int = 0
    """Training batches over which batch norms' statistics are taken anew before every evaluation on the validation set
    (arXiv 2105.07576); 0 for the running averages."""
    eval_batch: int = 128
    """Images a batch in evaluation: memory, not results."""

    def __post_init__(self) -> None:
        at_least_1(self, "eval_batch")
        for name in ("size", "test_size"):
            value = getattr(self, name)
            if value is not None and value < 8:
                raise BadInput(f"task.{name}: expected at least 8, got {value}")
        if not (
            0 < self.crop <= 1 and 0 <= self.smoothing < 1 and 0 <= self.bce_threshold < 1 and self.precise_bn >= 0
        ):
            raise BadInput(
                "task: expected crop in (0, 1], smoothing and bce_threshold in [0, 1), precise_bn of 0 or more"
            )

    def build(self, setting: Setting) -> Classification:
        return Classification(self, setting)


class Classification:
    """The task that :class:`ClassificationConfig` describes."""

    monitor = "error"

    def __init__(self, config: ClassificationConfig, setting: Setting):
        if setting.seed < 0:
            raise BadInput(f"seed: expected 0 or more, got {setting.seed}")
        self.config, self.setting = config, setting
        images = self.images = config.data.load(setting.data_root)
        self.classes = images.classes
        self.look = self._look()
        self.pixels: dict[str, Tensor] = {}
        """Of images that are kept in memory and come as they are: uint8 (n, c, h, w) a split, on the device."""
        if config.size is None:
            for name, part in images.parts.items():
                assert part.array is not None
                self.pixels[name] = torch.from_numpy(part.array).permute(0, 3, 1, 2).contiguous().to(setting.device)
        train = images.parts["train"]
        self.labels = {n: torch.from_numpy(p.labels).to(setting.device) for n, p in images.parts.items()}
        if isinstance(config.augment, ShiftConfig) == bool(self.pixels):
            self.augment = None
        else:
            raise BadInput("task.augment: shift is for images of one size (size null), timm for those that are cropped")
        if isinstance(config.augment, TimmAugmentConfig):
            self.augment = TimmAugment(train, self.look, config.augment, setting.seed)
        c, s = len(images.channels), self.look.test_size
        height, width = (s, s) if config.size else images.size or (s, s)
        self.spec = InputSpec((c, height, width), (len(self.classes),), images.channels, self.look.mean, self.look.std)
        self._mean, self._std = (
            torch.tensor(v).view(1, -1, 1, 1).to(setting.device) for v in (self.look.mean, self.look.std)
        )
        self.data_fingerprint = images.fingerprint
        self.facts: dict[str, Any] = {
            "images": images.source,
            "classes": list(self.classes),
            "test_view": {"size": [height, width], "crop": config.crop if config.size else 1.0},
            "conventions": CONVENTIONS,
        }
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0))

    def _look(self) -> Look:
        images, config = self.images, self.config
        if config.size is not None:
            mean, std = IMAGENET if len(images.channels) == 3 else ((0.5,), (0.25,))
            return Look(config.size, config.test_size or config.size, config.crop, mean, std)
        if images.size is None:
            raise BadInput("task.size: null is for sets whose images have one size; name the side to crop to")
        array = images.parts["train"].array
        assert array is not None
        # by counts of the 256 values: exact, and without a copy of all pixels as floats
        counts = np.stack([np.bincount(array[..., c].ravel(), minlength=256) for c in range(array.shape[-1])])
        share, values = counts / counts.sum(1, keepdims=True), np.arange(256) / 255
        mean = share @ values
        std = np.sqrt(np.maximum(share @ values**2 - mean**2, 1e-6))
        rounded = [tuple(round(float(v), 4) for v in x) for x in (mean, std)]
        return Look(images.size[0], images.size[0], 1.0, rounded[0], rounded[1])

    def fetch(self, index: int) -> dict[str, Tensor]:
        """This rank's share of batch ``index``: the images' ``numbers``, their ``draws`` (number in the whole run), the
        batch's ``mix``, and where they are read from a disk ``images`` (b, c, h, w)."""
        size, train = self.setting.batch_size, self.images.parts["train"]
        part = dist.local_slice(size)
        draws = np.arange(index * size + part.start, index * size + part.stop)
        numbers = np.array([self._permutation(d // len(train))[d % len(train)] for d in draws.tolist()], np.int64)
        _, height, width = self.spec.shape
        side = (self.look.size, self.look.size) if self.config.size else (height or 0, width or 0)
        found = {
            "numbers": torch.from_numpy(numbers),
            "draws": torch.from_numpy(draws),
            "mix": self.config.mix.draw(self.setting.seed, index, *side),
        }
        if self.augment is not None:
            found["images"] = self.augment(numbers, draws)
        return found

    def batch(self, index: Tensor, fetched: dict[str, Tensor]) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Images (b, c, h, w) and soft targets (b, n), this rank's share, augmented and mixed."""
        n, config = len(self.classes), self.config
        numbers = fetched["numbers"]
        if isinstance(config.augment, ShiftConfig):
            images = self._normalised(self.pixels["train"][numbers])
            images = shifted(images, fetched["draws"], config.augment, self.setting.seed)
        else:
            images = fetched["images"]
        share = config.smoothing / n if config.loss == "ce" else 0.0
        targets = F.one_hot(self.labels["train"][numbers], n).float()
        return mixed(images, targets * (1.0 - share * n) + share, fetched["mix"])

    def loss(self, net: nn.Module, batch: tuple[Tensor, Tensor], step: Tensor) -> Tensor:  # noqa: ARG002
        """Cross-entropy with soft targets, or binary cross-entropy of every class: a mean over images."""
        images, targets = batch
        scores = self._scores(net, images)
        if self.config.loss == "ce":
            return F.cross_entropy(scores, targets)
        return F.binary_cross_entropy_with_logits(scores, (targets > self.config.bce_threshold).float())

    @torch.no_grad()
    def evaluate(self, net: nn.Module, split: Split = "val") -> Scores:
        """Top-1, top-5 and loss, top-1 by class, and what always naming the most frequent class would give."""
        was_training = net.training
        if self.config.precise_bn and split == "val":
            self.take_statistics(net)
        net.eval()
        n = len(self.classes)
        sums = torch.zeros(3, dtype=torch.float64, device=self.setting.device)
        by_class = torch.zeros(2, n, dtype=torch.float64, device=self.setting.device)
        for images, labels in self._eval_batches(split):
            scores = self._scores(net, images)
            best = scores.topk(min(5, n)).indices == labels[:, None]
            loss = F.cross_entropy(scores, labels, reduction="sum")
            sums += torch.stack([best[:, 0].sum().double(), best.sum().double(), loss.double()])
            by_class[0].index_add_(0, labels, best[:, 0].double())
            by_class[1].index_add_(0, labels, torch.ones_like(labels, dtype=torch.float64))
        net.train(was_training)
        right, among, loss = (dist.sum_over_ranks(sums) / len(self.images.parts[split])).tolist()
        hits, counts = dist.sum_over_ranks(by_class).tolist()
        means = {"error": 100 * (1 - right), "top1": 100 * right, "top5": 100 * among, "loss": loss}
        shown = {c: 100 * h / m for c, h, m in zip(self.classes, hits, counts, strict=True) if m}
        by = {"class": {"top1": shown}} if n <= MOST_CLASSES_SHOWN else {}
        return Scores(Score(means, by), {"most frequent class": self._constant(split)})

    @torch.no_grad()
    def examples(self, net: nn.Module, split: Split = "test", keys: Sequence[str] = ()) -> list[Example]:
        """The best, the median and the worst by loss of the first images (1,024 at most); or else those of these whose
        numbers ``keys`` are."""
        was_training = net.training
        net.eval()
        losses, tops = [], []
        for images, labels in self._eval_batches(split, 1024):
            scores = self._scores(net, images)
            losses.append(F.cross_entropy(scores, labels, reduction="none").cpu())
            tops.append(scores.softmax(1).max(1))
        net.train(was_training)
        loss = torch.cat(losses)
        share, named = (torch.cat([getattr(t, f).cpu() for t in tops]) for f in ("values", "indices"))
        order, part = loss.argsort(), self.images.parts[split]
        found: list[Example] = []
        picked = {"best": int(order[0]), "median": int(order[len(order) // 2]), "worst": int(order[-1])}
        for name, k in ({f"image {key}": number_of(key, len(order)) for key in keys} or picked).items():
            truth, told = self.classes[int(part.labels[k])], self.classes[int(named[k])]
            title = f"{name}{'' if keys else f' of {len(order)}'}: {told} {100 * share[k]:.0f} %, truth {truth}"
            found.append(ClassifiedImage(name, title, part.image(k, self.look.channels), key=str(k)))
        return found

    def games(self, net: nn.Module, count: int, grid: int | None = None) -> list[Game]:
        """The games of interactions of ``count`` test images, spread over all: log-odds of the true class, by patches;
        see :func:`moga_st.analyse.interactions.image_game`."""
        part = self.images.parts["test"]
        return [
            image_game(net, self.inputs("test", [i])[0], int(part.labels[i]), grid) for i in spread(len(part), count)
        ]

    def inputs(self, split: Split, numbers: Sequence[int]) -> Tensor:
        """Images of a split as evaluation shows them to a network: (b, c, h, w)."""
        if self.pixels:
            return self._normalised(self.pixels[split][torch.as_tensor(numbers)])
        view, part = evaluation(self.look), self.images.parts[split]
        with ThreadPoolExecutor(4) as pool:
            images = list(pool.map(lambda i: view(part.image(i, self.look.channels)), numbers))
        return torch.stack(images).to(self.setting.device)

    @torch.no_grad()
    def take_statistics(self, net: nn.Module) -> None:
        """Batch norms' statistics anew, as means over ``precise_bn`` training batches with the weights as they are."""
        norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        momenta = [m.momentum for m in norms]
        net.eval()  # so that nothing is dropped; the norms alone see their batches
        for m in norms:
            m.reset_running_stats()
            m.momentum = None  # a plain mean over the batches
            m.train()
        for index in range(self.config.precise_bn):
            fetched = {k: v.to(self.setting.device) for k, v in self.fetch(index).items()}
            net(self.batch(torch.tensor(index), fetched)[0])
        for m, momentum in zip(norms, momenta, strict=True):
            m.momentum = momentum

    def _scores(self, net: nn.Module, images: Tensor) -> Tensor:
        scores = net(images).float()
        if scores.shape != (len(images), len(self.classes)):
            raise BadInput(
                f"the model gives scores of shape {tuple(scores.shape)}, the data have {len(self.classes)} classes"
            )
        return scores

    def _normalised(self, pixels: Tensor) -> Tensor:
        return (pixels.float() / 255.0 - self._mean) / self._std

    def _permutation(self, epoch: int) -> np.ndarray:
        if self._order[0] != epoch:
            rng = np.random.default_rng((self.setting.seed, epoch))
            self._order = (epoch, rng.permutation(len(self.images.parts["train"])))
        return self._order[1]

    def _constant(self, split: Split) -> Score:
        counts = np.bincount(self.images.parts["train"].labels, minlength=len(self.classes))
        order = np.argsort(-counts, kind="stable")
        labels = self.images.parts[split].labels
        right, among = (100 * float(np.isin(labels, order[:k]).mean()) for k in (1, 5))
        share = np.maximum(counts / counts.sum(), 1e-12)
        return Score({"error": 100 - right, "top1": right, "top5": among, "loss": float(-np.log(share[labels]).mean())})

    def _eval_batches(self, split: Split, most: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """This rank's share of each batch, in order: images (b, c, h, w) and labels (b,)."""
        total = min(len(self.images.parts[split]), most or len(self.images.parts[split]))
        for first in range(0, total, self.config.eval_batch):
            share = dist.local_slice(min(self.config.eval_batch, total - first))
            numbers = range(first + share.start, first + share.stop)
            if numbers:
                yield self.inputs(split, numbers), self.labels[split][numbers.start : numbers.stop]
