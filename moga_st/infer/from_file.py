"""Inputs of a network as they come about from a file of one's own."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from moga_st.data.video.clips import open_clip
from moga_st.export.write import recorded
from moga_st.infer.classify import load_classifier
from moga_st.infer.lift import lift
from moga_st.infer.predict import Predictor
from moga_st.models.moganet import MogaNetConfig
from moga_st.models.simvp import SimVPConfig
from moga_st.pretrained import find_weights, load_model, read_weights


def inputs_from_file(weights: Path, file: Path, count: int, size: tuple[int, int] | None = None) -> Tensor:
    """The first ``count`` inputs, fewer where the file has no more, that the network gets when it predicts a clip,
    lifts keypoints or classifies an image: (count, ...), as the network itself sees them.

    Raises:
        BadInput: see :mod:`moga_st.infer`'s functions for each kind of network.
    """
    path = find_weights(weights)
    model = read_weights(path).model
    if isinstance(model, SimVPConfig):
        predictor = Predictor(path)
        clip = open_clip(file, channels=predictor.net.channels)
        return recorded(predictor.net, lambda: predictor.predict(clip, 0, None, size), count)
    if isinstance(model, MogaNetConfig):
        classifier = load_classifier(path)
        return recorded(classifier.net, lambda: list(classifier([file])), count)
    net = load_model(path)
    return recorded(net, lambda: lift(net, file), count)
