"""Classes of images by weights of this package: what the verb, notebooks and tests call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from moga_st.analyse.gradcam import gradcam, spread
from moga_st.analyse.interactions import Game, image_game
from moga_st.data.augment import Look, evaluation, normalised
from moga_st.data.images import find_images, read_image
from moga_st.draw.images import ClassifiedImage
from moga_st.errors import BadInput
from moga_st.export.choose import image_view
from moga_st.export.load import load
from moga_st.export.runtime import ExportRuntime, Standing
from moga_st.export.whole import IMAGENET
from moga_st.models.moganet import MogaNet, MogaNetConfig

SMALLEST_MAP = 4
"""Rows and columns of a feature map below which it cannot tell where on an image anything is."""


@dataclass(frozen=True)
class Classified:
    """One image and what it may show."""

    path: Path
    pixels: np.ndarray
    """uint8 (h, w, c)."""
    top: list[tuple[str, float]]
    """Class and share of the softmax, the highest first."""
    heat: np.ndarray | None = None
    """(h, w) in [0, 1], of the network's view of the image: what speaks for the first class."""
    view: np.ndarray | None = None
    """uint8 (h, w, c): what the network saw, under ``heat``."""

    def example(self) -> ClassifiedImage:
        """The picture of it."""
        name, share = self.top[0]
        pixels = self.pixels if self.view is None else self.view
        return ClassifiedImage(self.path.stem, f"{name} {100 * share:.0f} %", pixels, self.heat)


@dataclass(frozen=True)
class Classifier:
    """A network that tells classes of images apart, with its view of an image and the names of its classes."""

    net: nn.Module
    """In evaluation mode, on ``device``."""
    classes: tuple[str, ...]
    look: Look
    device: torch.device | str = "cpu"

    def __call__(self, images: list[Path], top: int = 5, cam: bool = False) -> Iterator[Classified]:
        """What the images of files and folders may show, one after the other.

        Args:
            images: image files, or folders of them.
            top: how many classes to name.
            cam: give heat maps too.

        Raises:
            BadInput: nothing there, or no image that can be read.
        """
        if top < 1:
            raise BadInput(f"top: expected at least 1, got {top}")
        for path in [p for given in images for p in find_images(given)]:
            pixels = read_image(path, self.look.channels)
            x = self.input(pixels)
            with torch.no_grad():
                share = self.net(x[None]).float().softmax(1)[0].cpu()
            best = share.topk(min(top, len(self.classes)))
            named = [(self.classes[i], v) for i, v in zip(best.indices.tolist(), best.values.tolist(), strict=True)]
            if not cam:
                yield Classified(path, pixels, named)
                continue
            heat = self.heat(x, int(best.indices[0]))
            mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (self.look.mean, self.look.std))
            view = ((x.cpu() * std + mean) * 255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
            yield Classified(path, pixels, named, heat.numpy(), view)

    def heat(self, x: Tensor, number: int) -> Tensor:
        """Grad-CAM of class ``number`` for a network's input (c, h, w): (h, w) in [0, 1].

        It is that of the last stage whose map has at least :data:`SMALLEST_MAP` rows and columns, or else of the first:
        the last one as published, but for small images an earlier one.

        Raises:
            BadInput: a network without stages.
        """
        if not isinstance(self.net, MogaNet):
            who = "a runtime other than torch" if isinstance(self.net, Standing) else type(self.net).__name__
            raise BadInput(f"heat maps are drawn for MogaNet run by torch, this is {who}")

        def maps_of(stage: nn.Module) -> Tensor:
            return gradcam(self.net, stage, x[None], lambda out: out[:, number])

        stages = list(self.net.stages)
        maps = maps_of(stages.pop())
        while stages and min(maps.shape[1:]) < SMALLEST_MAP:
            maps = maps_of(stages.pop())
        return spread(maps, (x.shape[1], x.shape[2]))[0].cpu()

    def games(self, folder: Path, count: int, grid: int | None = None) -> list[Game]:
        """The games of interactions of ``count`` images, spread over all in a folder with a folder for each class; see
        :func:`moga_st.analyse.interactions.image_game`.

        The classes' folders have the names that the weights say; where these know no names, they are as many as the
        classes and stand in their order, as ImageNet's do.

        Raises:
            BadInput: folders that do not fit the classes, or no image that can be read.
        """
        images = [(p, p.relative_to(folder).parts[0]) for p in find_images(folder) if p.parent != folder]
        folders = sorted({name for _, name in images})
        index = {name: i for i, name in enumerate(self.classes)}
        if not set(folders) <= set(index):
            if len(folders) != len(self.classes):
                raise BadInput(
                    f"{folder}: expected a folder of images for each class, by the names that the weights know "
                    f"({', '.join(self.classes[:3])}, ...) or all {len(self.classes)} in order; it has {len(folders)}"
                )
            index = {name: i for i, name in enumerate(folders)}
        chosen = np.unique(np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int))
        inputs = [(self.input(read_image(images[i][0], self.look.channels)), images[i][1]) for i in chosen]
        return [image_game(self.net, x, index[name], grid) for x, name in inputs]

    def input(self, pixels: np.ndarray) -> Tensor:
        """uint8 (h, w, c) as the network takes it: (c, s, s)."""
        whole = pixels.shape[:2] == (self.look.test_size, self.look.test_size) and self.look.crop == 1.0
        x = normalised(pixels, self.look) if whole else evaluation(self.look)(pixels)
        return x.to(self.device)


def load_classifier(
    weights: Path,
    device: torch.device | str = "cpu",
    names: Path | None = None,
    runtime: ExportRuntime | None = None,
) -> Classifier:
    """The classifier in weights of this package.

    Args:
        weights: as :func:`moga_st.export.load.load` takes them.
        device: where torch runs.
        names: the classes' names, one a line in a file, where the weights do not say them.
        runtime: ONNX Runtime or OpenVINO instead of torch.

    Raises:
        BadInput: no such weights, those of no classifier, or names that do not fit.
    """
    net, model, spec, facts, path, _ = load(weights, device, runtime)
    if not isinstance(model, MogaNetConfig) and "test_view" not in facts:
        raise BadInput(
            f"{path}: holds a {type(model).__name__.removesuffix('Config')}, which is no classifier of images"
        )
    if isinstance(net, Standing):
        count = net.classes
    else:
        head = [m for m in net.modules() if isinstance(m, nn.Linear)]
        count = head[-1].out_features if head else 0
    if not count:
        raise BadInput(f"{path}: holds a backbone without a head, which names no class")
    classes = _names(path, names, facts.get("classes"), count)
    channels = spec.shape[0] if spec is not None and spec.shape[0] else getattr(model, "channels", None) or 3
    if channels not in (1, 3):
        raise BadInput(f"{path}: takes {channels} channels; images of files have 1 (grey) or 3 (red, green, blue)")
    mean, std = (spec.mean, spec.std) if spec is not None else IMAGENET
    mean, std = (v * channels if len(v) == 1 else v for v in (mean, std))
    try:
        size, crop = image_view(facts)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error
    look = Look(size, size, crop, tuple(mean), tuple(std))
    if len(look.mean) != channels:
        raise BadInput(f"{path}: takes {channels} channels, but has the scale of {len(look.mean)}")
    return Classifier(net, tuple(classes), look, device)


def _names(path: str, given: Path | None, known: Any, count: int) -> list[str]:
    if given is None:
        if known is None or known == []:
            return [f"class {i}" for i in range(count)]
        if not isinstance(known, list) or len(known) != count or not all(isinstance(n, str) for n in known):
            raise BadInput(f"{path}: its names of classes are not {count} texts; give a file of them as names")
        return known
    from moga_st.storage import read_text

    names = [line.strip() for line in read_text(given).splitlines() if line.strip()]
    if len(names) != count:
        raise BadInput(f"{given}: has {len(names)} names, {path} tells {count} classes apart")
    return names
