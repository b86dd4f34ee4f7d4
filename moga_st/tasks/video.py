"""Video prediction: loss, evaluation and examples, on any source of clips (:class:`VideoData`).

Shape legend: ``b`` windows, ``t`` frames, ``c`` channels, ``h w`` frame size.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from moga_st import dist
from moga_st.analyse.interactions import Game, clip_game
from moga_st.draw.video import PredictedClip
from moga_st.errors import BadInput
from moga_st.metrics import video
from moga_st.metrics.scorers import FieldScorer, Scorer
from moga_st.models import baselines
from moga_st.scores import Score, Scores
from moga_st.spec import InputSpec
from moga_st.tasks.task import Example, Setting, Split, TaskConfig, at_least_1, number_of, own_loss, spread

EXAMPLES = 256  # windows that examples are chosen from


class VideoData(Protocol):
    """A source of clips, cut into numbered windows of ``frames_in`` + ``frames_out`` frames."""

    source: str
    """What it is, for people."""
    fingerprint: str
    facts: dict[str, Any]
    """What a record says of the data."""

    @property
    def scorer(self) -> Scorer:
        """The metrics that its field scores it by."""
        ...

    def spec(self, frames_in: int, frames_out: int) -> InputSpec: ...

    def count(self, split: Literal["train"] | Split) -> int:
        """Windows to draw from (of training), or to score on."""
        ...

    def fetch(self, split: Literal["train"] | Split, numbers: np.ndarray) -> Any:
        """The windows ``numbers`` (b,) int64 as they are stored (b, t, c, h, w), with what else :meth:`frames` needs,
        on the CPU; None where they are made on the device.  It runs in another thread than the rest."""
        ...

    def frames(self, split: Literal["train"] | Split, numbers: Tensor, fetched: Any) -> Tensor:
        """The same windows as a network sees them: (b, t, c, h, w), on the device.

        A source that varies what is trained on has ``augmented(numbers, frames)``, of training windows as a network
        sees them; one whose errors do not all weigh the same has ``weights(future)``.  One whose values are seen as
        anomalies has ``climatology``, and ``usual(fetched)``: what is usual at each place of these windows, which is
        taken from what goes into the network and added to what comes out.
        """
        ...


@runtime_checkable
class MadeOnDevice(Protocol):
    """What a source of clips that makes them on the device may have beside: the benchmark times one by the other."""

    def make(self, split: Literal["train"] | Split, numbers: Tensor) -> Tensor:
        """The windows ``numbers`` (b,) int64: (b, t, c, h, w) uint8, on the device."""
        ...

    def make_slowly(self, split: Literal["train"] | Split, numbers: np.ndarray) -> np.ndarray:
        """The same by their definition, one after the other on the CPU."""
        ...


@dataclass(frozen=True)
class VideoConfig(TaskConfig):
    """What every task of video prediction has; :meth:`data` is what makes it one.

    Raises:
        BadInput: a number below 1.
    """

    frames_in: int = 10
    """Frames the model sees."""
    frames_out: int = 10
    """Frames it predicts and is scored on."""
    eval_batch: int = 64
    """Windows a batch in evaluation: memory, not results."""
    lpips: bool = False
    """Score LPIPS too on the test set (needs torchvision's AlexNet weights)."""
    loss: Literal["mse", "l1", "charbonnier"] = "mse"
    """Error that training minimises, a mean over all values: its square, its size, or sqrt(error^2 + 1e-6), which is
    the one near 0 and the other far from it (Charbonnier)."""
    baselines: tuple[Literal["copy_last", "optical_flow"], ...] = ("copy_last",)
    """What is scored beside the model on the test set: the last frame again, or the motion between the last two frames
    going on. Validation has the first of them."""

    def __post_init__(self) -> None:
        at_least_1(self, "frames_in", "frames_out", "eval_batch")

    def data(self, setting: Setting) -> VideoData:
        raise NotImplementedError

    def build(self, setting: Setting) -> VideoPrediction:
        return VideoPrediction(self, setting)


class VideoPrediction:
    """The task that a :class:`VideoConfig` describes."""

    monitor = "mse"

    def __init__(self, config: VideoConfig, setting: Setting):
        if setting.seed < 0:
            raise BadInput(f"seed: expected 0 or more, got {setting.seed}")
        self.config, self.setting = config, setting
        self.data = config.data(setting)
        self.spec = self.data.spec(config.frames_in, config.frames_out)
        self.data_fingerprint = self.data.fingerprint
        self.facts: dict[str, Any] = {**self.data.facts, "conventions": self.data.scorer.conventions}
        climatology = getattr(self.data, "climatology", None)
        self._weights = getattr(self.data, "weights", lambda _: None)
        self._augmented = getattr(self.data, "augmented", lambda _, frames: frames)
        self.usual: Tensor | None = None if climatology is None else climatology.mean
        """What values are anomalies of (k, c, h, w), which goes into weights files; None without anomalies."""

    def fetch(self, index: int) -> Tensor | None:
        """This rank's share of batch ``index`` as it is stored: (b, t, c, h, w)."""
        part = dist.local_slice(self.setting.batch_size)
        first = index * self.setting.batch_size
        return self.data.fetch("train", np.arange(first + part.start, first + part.stop))

    def batch(self, index: Tensor, fetched: Any = None) -> tuple[Tensor, Tensor]:
        """Past (b, frames_in, c, h, w) and future (b, frames_out, c, h, w) as the network sees them, of this rank."""
        size = self.setting.batch_size
        part = dist.local_slice(size)
        numbers = index * size + torch.arange(part.start, part.stop, device=self.setting.device)
        frames = self.data.frames("train", numbers, fetched)
        usual = self._usual(fetched)
        seen = frames if usual is None else frames - usual  # in this order: what is usual is so at its own place
        return self._split(self._augmented(numbers, seen))

    def loss(self, net: nn.Module, batch: tuple[Tensor, Tensor], step: Tensor) -> Tensor:
        """The network's own loss, or the mean over all values of what ``config.loss`` names, weighted as the data
        say."""
        past, future = batch
        own = own_loss(net, past, future, step)
        if own is not None:
            if self.config.loss != "mse":
                raise BadInput(f"task.loss: the network brings its own loss; leave {self.config.loss} out")
            return own
        pred = net(past).float()
        _check(pred, future)
        error = (pred - future).abs()
        if self.config.loss == "mse":
            error = error.square()
        elif self.config.loss == "charbonnier":
            error = (error.square() + 1e-6).sqrt()
        weights = self._weights(future)
        return error.mean() if weights is None else (weights * error).mean()

    @torch.no_grad()
    def evaluate(self, net: nn.Module, split: Split = "val") -> Scores:
        """Scores over windows and frames, and over windows at each lead time ("frame": 1 to frames_out), of ``net`` and
        of the baselines."""
        was_training = net.training
        net.eval()
        scorer, total = self.data.scorer, self.data.count(split)
        lpips = self.config.lpips and split == "test"
        others = self._baselines(split)
        sums: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for numbers, past, future, usual in self._eval_batches(split, total):
            predictions = {name: predict(past, numbers) for name, predict in others.items()}
            for row, pred in {"model": self._predict(net, past, usual), **predictions}.items():
                _check(pred, future)
                for name, values in scorer(pred.to(future.device), future, self.spec, lpips).items():
                    before = sums[row].get(name)
                    sums[row][name] = values.sum(0) if before is None else before + values.sum(0)
        net.train(was_training)
        curves = iter(dist.sum_over_ranks(torch.stack([v for row in sums.values() for v in row.values()])) / total)
        rows = {}
        for row, names in sums.items():
            terms = {name: next(curves) for name in names}  # (frames_out,) each
            means = {k: v.item() for k, v in scorer.finish({k: v.mean() for k, v in terms.items()}).items()}
            by_frame = {k: dict(enumerate_from_1(v.tolist())) for k, v in scorer.finish(terms).items()}
            rows[row] = Score(means, {"frame": by_frame})
        return Scores(rows.pop("model"), rows)

    def _baselines(self, split: Split) -> dict[str, Callable[[Tensor, np.ndarray], Tensor]]:
        """What is scored beside a model: predictions from the past and the windows' numbers, by name."""
        out = self.config.frames_out
        known: dict[str, Callable[[Tensor, np.ndarray], Tensor]] = {
            "copy_last": lambda past, _: baselines.copy_last(past, out),
            "optical_flow": lambda past, _: baselines.optical_flow(past, out),
        }
        wanted = self.config.baselines if split == "test" else self.config.baselines[:1]
        found = {name.replace("_", " "): known[name] for name in wanted}
        if split == "test":
            own = getattr(self.data, "own_baselines", dict)()
            found |= {name: (lambda _, numbers, make=make: make(split, numbers)) for name, make in own.items()}
        return found

    @torch.no_grad()
    def examples(self, net: nn.Module, split: Split = "test", keys: Sequence[str] = ()) -> list[Example]:
        """The best, median and worst by mean squared error of the first windows (256 at most); or else the windows
        whose numbers ``keys`` are."""
        was_training = net.training
        net.eval()
        numbers = [number_of(key, self.data.count(split)) for key in keys]
        chosen = (self._window_batch(split, n, n + 1) for n in numbers)
        pasts, futures, preds = [], [], []
        windows = chosen if keys else self._eval_batches(split, min(EXAMPLES, self.data.count(split)))
        for _, past, future, usual in windows:
            pasts.append(past.cpu())
            futures.append(future.cpu())
            preds.append(self._predict(net, past, usual).cpu())
        net.train(was_training)
        past, future, pred = torch.cat(pasts), torch.cat(futures), torch.cat(preds)
        error = self._errors(pred, future)
        order = error.argsort()
        places, unit = (".3g", f" {squared(self.spec.unit)}".rstrip()) if self.spec.unit else (".1f", "")
        found: list[Example] = []
        picked = {"best": int(order[0]), "median": int(order[len(order) // 2]), "worst": int(order[-1])}
        named = {f"window {n}": i for i, n in enumerate(numbers)} or picked
        for name, i in named.items():
            title = f"{name}{'' if keys else f' of {len(order)}'}, MSE {error[i]:{places}}{unit}"
            clips = (x[i].numpy() for x in (past, pred, future))
            found.append(PredictedClip(name, title, *clips, spec=self.spec, key=str(numbers[i] if keys else i)))
        return found

    def _errors(self, pred: Tensor, future: Tensor) -> Tensor:
        """Mean squared error of each window, as the scores have it: a sum over a frame of images, a mean in the data's
        unit of fields."""
        scorer = FieldScorer() if self.spec.unit else None
        each = video.mse(pred, future) if scorer is None else scorer(pred, future, self.spec)["mse"]
        return each.mean(1)

    def games(self, net: nn.Module, count: int, frame: int = 1, grid: int | None = None) -> list[Game]:
        """The games of interactions of ``count`` test windows, spread over all: the error of predicted frame ``frame``,
        by patches; see :func:`moga_st.analyse.interactions.clip_game`."""
        windows = [self._sequences("test", i, i + 1) for i in spread(self.data.count("test"), count)]
        # as the network sees them: the error of anomalies is that of values
        pairs = [self._split(frames if usual is None else frames - usual) for frames, usual in windows]
        return [clip_game(net, past[0], future[0], frame, grid) for past, future in pairs]

    def sequences(self, split: Literal["train"] | Split, first: int, last: int) -> Tensor:
        """Windows number ``first`` to ``last`` - 1: (b, frames_in + frames_out, c, h, w), (value - mean) / std of the
        task's spec."""
        return self._sequences(split, first, last)[0]

    def _sequences(self, split: Literal["train"] | Split, first: int, last: int) -> tuple[Tensor, Tensor | None]:
        """These, and what is usual there."""
        fetched = self.data.fetch(split, np.arange(first, last))
        fetched = tree_map_only(Tensor, lambda x: x.to(self.setting.device), fetched)
        numbers = torch.arange(first, last, device=self.setting.device)
        return self.data.frames(split, numbers, fetched), self._usual(fetched)

    def _usual(self, fetched: Any) -> Tensor | None:
        return None if self.usual is None else self.data.usual(fetched)  # type: ignore[attr-defined]

    def _predict(self, net: nn.Module, past: Tensor, usual: Tensor | None) -> Tensor:
        """The future of values (b, t, c, h, w), of a network that may see anomalies."""
        if usual is None:
            return net(past).float()
        before, after = self._split(usual)
        return net(past - before).float() + after

    def _split(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        return frames[:, : self.config.frames_in], frames[:, self.config.frames_in :]

    def _eval_batches(self, split: Split, total: int) -> Iterator[tuple[np.ndarray, Tensor, Tensor, Tensor | None]]:
        """Numbers, past, future, and what is usual in both, of this rank's share of each batch, in order; the last
        batch is as short as it has to be."""
        for first in range(0, total, self.config.eval_batch):
            part = dist.local_slice(min(self.config.eval_batch, total - first))
            start, stop = first + part.start, first + part.stop
            if start != stop:
                yield self._window_batch(split, start, stop)

    def _window_batch(self, split: Split, first: int, last: int) -> tuple[np.ndarray, Tensor, Tensor, Tensor | None]:
        frames, usual = self._sequences(split, first, last)
        return np.arange(first, last), *self._split(frames), usual


def squared(unit: str) -> str:
    """The unit of a squared error: ``K`` -> K^2, ``m/s`` -> (m/s)^2, and of channels in several units, each its own."""
    if "," in unit:
        return f"({unit}, each squared)"
    return f"{unit}^2" if unit.isalpha() else f"({unit})^2"  # the font of pictures has no ²


def enumerate_from_1(values: list[float]) -> Iterator[tuple[str, float]]:
    """("1", first), ("2", second), ...: lead times as the parts of a breakdown."""
    yield from ((str(i), value) for i, value in enumerate(values, 1))


def _check(pred: Tensor, future: Tensor) -> None:
    if pred.shape != future.shape:
        raise BadInput(
            f"the model predicts frames of shape {tuple(pred.shape)}, the task has {tuple(future.shape)}; "
            "model.frames_out must be task.frames_out"
        )
