"""Which ends a network gets: its :class:`~moga_st.export.whole.Whole`, from its config and what its weights know."""

from __future__ import annotations

from typing import Any

from moga_st.config import ModelConfig
from moga_st.errors import BadInput
from moga_st.export.whole import IMAGENET, LARGEST_SIDE, Whole, WholeImage, WholePerson, WholePose, WholeVideo
from moga_st.models.lifter import LifterConfig
from moga_st.models.moganet import MogaNetConfig
from moga_st.models.person import PersonLifterConfig
from moga_st.models.simvp import SimVPConfig
from moga_st.spec import InputSpec


def whole_of(
    model: ModelConfig,
    spec: InputSpec | None,
    facts: dict[str, Any],
    size: tuple[int, int] | None = None,
    frames: int | None = None,
) -> Whole:
    """What a network of this config is with its ends.

    Args:
        model: of the weights.
        spec: what its data gave it, where that is known.
        facts: of its task: `test_view` of a classifier.
        size: height and width of frames or images; as it was trained where left out.
        frames: to predict; as it was trained where left out.

    Raises:
        BadInput: a network that has no such ends here, a size that nobody knows or that is out of range, or arguments
            that mean nothing to it.
    """
    if frames is not None and not isinstance(model, SimVPConfig):
        raise BadInput(f"frames: are for video models; these weights are of {type(model).__name__}")
    if isinstance(model, SimVPConfig):
        return _whole_video(model, spec, size, frames)
    if isinstance(model, MogaNetConfig):
        return _whole_image(model, spec, facts, size)
    if size is not None:
        raise BadInput(f"size: is for frames and images; these weights are of {type(model).__name__}")
    if isinstance(model, LifterConfig):
        return WholePose(model.frames, model.channels, model.centre_only)
    if isinstance(model, PersonLifterConfig):
        return WholePerson(model.frames, model.last or model.frames)
    raise BadInput(
        f"weights of {type(model).__name__} cannot be exported; video models (SimVP), lifters and MogaNet can"
    )


def _whole_video(
    model: SimVPConfig, spec: InputSpec | None, size: tuple[int, int] | None, frames: int | None
) -> WholeVideo:
    spec = spec or InputSpec((None,) * 4)
    if spec.anomalies:
        raise BadInput(
            f"weights of anomalies by {spec.anomalies} cannot be exported, since frames in a file have no dates; run "
            "them with `moga-st predict`, or train some without anomalies"
        )
    placed = spec.anomalies is not None
    if placed and size is not None and size != spec.shape[-2:]:
        own = " x ".join(map(str, spec.shape[-2:]))
        raise BadInput(f"size: what is usual at each place is known for frames of {own} alone; take that size")
    own = model.fit(InputSpec((None,) * 4))
    assert own.frames_in is not None
    assert own.frames_out is not None
    assert own.channels is not None
    height, width = size or spec.shape[-2:] or (None, None)
    if height is None or width is None:
        height, width = model.frame_size or (None, None)
    if height is None or width is None:
        raise BadInput("frame size: these weights do not say on which they were trained; give one")
    scale = (spec.mean, spec.std) if spec.unit else ((0.0,), (1.0,))
    out = own.frames_out if frames is None else frames
    return WholeVideo(own.frames_in, out, height, width, own.channels, *scale, spec.unit, placed)


def _whole_image(
    model: MogaNetConfig, spec: InputSpec | None, facts: dict[str, Any], size: tuple[int, int] | None
) -> WholeImage:
    if model.classes == 0:
        raise BadInput("a backbone without a head names no class; train a classifier on it first")
    side, crop = image_view(facts)
    if size is not None and size != (side, side):
        if size[0] != size[1]:
            raise BadInput(f"size: a classifier's images are square, got {size[0]} x {size[1]}")
        side = size[0]
    channels = model.channels or 3
    mean, std = (spec.mean, spec.std) if spec is not None else IMAGENET
    mean, std = (v * channels if len(v) == 1 else v for v in (mean, std))
    return WholeImage(side, channels, model.classes or 1000, tuple(mean), tuple(std), crop)


def image_view(facts: dict[str, Any]) -> tuple[int, float]:
    """Side and share of an image that a classifier is shown, as the facts of its weights say.

    Raises:
        BadInput: they say nothing that could be.
    """
    view = facts.get("test_view", {"size": [224, 224], "crop": 0.9})
    try:
        size, crop = view["size"][0], float(view["crop"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BadInput(f"its test_view cannot be used ({error!r:.80})") from error
    if type(size) is not int or not 1 <= size <= LARGEST_SIDE or not 0 < crop <= 1:
        raise BadInput(f"its test_view is a side of {size!r:.20} and a share of {crop}; do not trust this file")
    return size, crop
