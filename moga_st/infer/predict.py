"""From a clip of any kind to its predicted future: what `predict`, notebooks and tests call.

Shape legend: ``t`` frames, ``c`` channels, ``h w`` frame size.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from moga_st import pretrained
from moga_st.data.video.clips import read_clip
from moga_st.draw.video import PredictedClip
from moga_st.errors import BadInput
from moga_st.metrics.scorers import FrameScorer
from moga_st.models.simvp import SimVP
from moga_st.spec import InputSpec


@dataclass(frozen=True, eq=False)
class Prediction:
    """A predicted clip, in values as the network sees them."""

    past: np.ndarray
    """(frames_in, c, h, w): what the network saw."""
    frames: np.ndarray
    """(frames, c, h, w): what it predicted; not clipped."""
    truth: np.ndarray
    """(t, c, h, w), t <= frames: what the clip goes on with, as far as it goes."""
    scores: dict[str, float]
    """Means over the frames that can be compared; empty where there are none."""
    spec: InputSpec
    """Channels, scale and rate."""

    def example(self, title: str) -> PredictedClip:
        """The same to draw."""
        truth = self.truth if len(self.truth) else None
        return PredictedClip("predicted", title, self.past, self.frames, truth, self.spec)


@torch.no_grad()
def predict(
    weights: str | Path | nn.Module,
    clip: str | Path,
    *,
    start: int = 0,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    device: torch.device | str = "cpu",
) -> Prediction:
    """Predict what follows in a clip.

    Args:
        weights: a weights file, a run's folder, the name of weights in the package, or a network.
        clip: see :func:`moga_st.data.video.clips.read_clip`.
        start: frame at which the input begins.
        frames: frames to predict; the network's own number if left out, more by rolling out.
        size: height and width that frames are resized to; the size the network was trained on if left out.

    Raises:
        BadInput: no video model, a clip that cannot be read or is too short, or numbers out of range.
    """
    clip = Path(clip)
    net, spec, name = _load(weights, device)
    known = spec.shape[-2:]
    size = size if size is not None or None in known else known  # type: ignore[assignment]
    if size is None:
        raise BadInput(f"{name}: does not say on which frame size it was trained; name the size")
    if min(size) < 1:
        raise BadInput(f"size: expected at least 1, got {min(size)}")
    if start < 0:
        raise BadInput(f"start: expected 0 or more, got {start}")
    whole = torch.from_numpy(read_clip(clip, net.channels, size))
    if start + net.frames_in > len(whole):
        raise BadInput(f"{clip}: has {len(whole)} frames, but the model needs {net.frames_in} from frame {start}")
    past = whole[start : start + net.frames_in]
    pred = net(past[None].to(device), frames)[0].float().cpu()
    true = whole[start + len(past) :][: len(pred)]
    scores = {}
    if len(true):
        metrics = FrameScorer()(pred[None, : len(true)], true[None], spec)
        scores = {k: v.mean().item() for k, v in metrics.items()}
    return Prediction(past.numpy(), pred.numpy(), true.numpy(), scores, spec)


def _load(weights: str | Path | nn.Module, device: torch.device | str) -> tuple[SimVP, InputSpec, str]:
    """The network in evaluation mode on its device, what is known of its input, and its name for messages."""
    if isinstance(weights, nn.Module):
        net, spec, name = weights.eval().to(device), None, type(weights).__name__
    else:
        path = pretrained.find_weights(Path(weights))
        net, spec, name = pretrained.load_model(path, device), pretrained.read_weights(path).spec, str(path)
    if not isinstance(net, SimVP):
        raise BadInput(f"{name}: holds a {type(net).__name__}; predict needs a video model")
    size = net.config.frame_size or (None, None)
    return net, spec or InputSpec((net.frames_in, net.channels, *size), (net.frames_out, net.channels, *size)), name
