"""A run's examples: kept in a file beside its weights, so that a page is made without the network, and made anew where
the weights have changed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from moga_st import pretrained, storage
from moga_st.config import data_root
from moga_st.draw.images import ClassifiedImage
from moga_st.draw.pose import LiftedClip
from moga_st.draw.video import PredictedClip
from moga_st.errors import BadInput
from moga_st.spec import InputSpec

FILE = "examples.npz"
KINDS: dict[str, type[Any]] = {
    "predicted_clip": PredictedClip,
    "lifted_clip": LiftedClip,
    "classified_image": ClassifiedImage,
}


class Kept(NamedTuple):
    """Examples, and which split they are from."""

    split: str
    examples: list[Any]


def save_examples(path: Path, kept: Kept, weights: Path) -> None:
    """Keep examples, and which weights they are of; those of a kind that is not known here are left out."""
    arrays: dict[str, Any] = {}
    about: list[dict[str, Any]] = []
    names = {cls: name for name, cls in KINDS.items()}
    for example in (e for e in kept.examples if type(e) in names):
        plain: dict[str, Any] = {"kind": names[type(example)]}
        for field in dataclasses.fields(example):
            value = getattr(example, field.name)
            if isinstance(value, np.ndarray):
                arrays[f"{len(about)}/{field.name}"] = value.astype(np.float32) if value.dtype.kind == "f" else value
            else:
                plain[field.name] = value.to_dict() if isinstance(value, InputSpec) else value
        about.append(plain)
    text = json.dumps({"weights": storage.file_digest(weights), "split": kept.split, "examples": about})
    storage.save_npz(path, {"about": np.frombuffer(text.encode(), np.uint8), **arrays}, compress=True)


def load_examples(path: Path, weights: Path | None = None) -> Kept:
    """What :func:`save_examples` kept.

    Args:
        weights: those that the examples must be of.

    Raises:
        BadInput: no such file, a damaged one, or examples of other weights.
    """
    with storage.open_npz(path) as file:
        arrays = {name: file.array(name) for name in file.names}
    try:
        about = storage.parse_json(arrays["about"].tobytes(), path)
        found = Kept(about["split"], [_example(plain, i, arrays) for i, plain in enumerate(about["examples"])])
        of = about["weights"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read ({error}); remove it, and it is made anew") from error
    if weights is not None and of != storage.file_digest(weights):
        raise BadInput(f"{path}: its examples are of other weights than {weights}; remove it, and it is made anew")
    return found


def _example(plain: dict[str, Any], i: int, arrays: dict[str, np.ndarray]) -> Any:
    values = {k: v for k, v in plain.items() if k != "kind"}
    values |= {name.partition("/")[2]: v for name, v in arrays.items() if name.startswith(f"{i}/")}
    if isinstance(values.get("spec"), dict):
        values["spec"] = InputSpec.from_dict(values["spec"])
    if "size_px" in values:
        values["size_px"] = tuple(values["size_px"])
    return KINDS[plain["kind"]](**values)


def examples_of(folder: Path, data: Path | None = None) -> Kept:
    """Examples of a run's best weights: those that `eval` kept, of the test set, or else of the validation set, which
    are kept in the run's folder.

    Raises:
        BadInput: no weights yet, or its data are not here.
    """
    weights = folder / "best.safetensors"
    if not weights.exists():
        raise BadInput(f"{folder}: has no weights yet; they come with the first validation")
    kept = kept_examples(folder)
    if kept is not None:
        return kept
    found = make_examples(weights, data)
    save_examples(folder / FILE, found, weights)
    return found


def kept_examples(folder: Path) -> Kept | None:
    """Those of a run's best weights that were kept; None where there are none, or of other weights."""
    weights = folder / "best.safetensors"
    for path in (folder / "eval" / FILE, folder / FILE):
        try:
            return load_examples(path, weights)
        except BadInput:
            continue
    return None


def make_examples(weights: Path, data: Path | None = None, split: str = "val", keys: Sequence[str] = ()) -> Kept:
    """The best, the median and the worst, or those that ``keys`` name, by the network itself, on the CPU.

    Raises:
        BadInput: the weights do not name a task that is known here, or its data are not here.
    """
    from moga_st.engine.config import config_of_weights
    from moga_st.tasks.task import Setting

    about = pretrained.read_weights(weights).about
    config = config_of_weights(about, weights, data_root(data))
    task = config.task.build(Setting(torch.device("cpu"), data_root(data), config.seed))
    return Kept(split, list(task.examples(pretrained.load_model(weights), "test" if split == "test" else "val", keys)))
