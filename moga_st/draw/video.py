"""Pictures of predicted clips: a PNG strip to print and a GIF to watch.  Pure numpy and Pillow.

Shape legend: ``t`` frames, ``h w`` size, ``c`` channels; images are 1 (grey) or 3 (RGB) channels in [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from moga_st.draw.files import for_names, one_line, save_gif, save_mp4, save_png
from moga_st.draw.images import overlay
from moga_st.spec import InputSpec

GAP = 3  # pixels between frames
MARGIN = 112  # pixels for the row labels of a strip
CAPTION = 18  # pixels for a line of text
PAPER, INK = (255, 255, 255), (40, 40, 40)


@dataclass(frozen=True, eq=False)
class PredictedClip:
    """A clip, what a network predicted of it, and what really came: arrays as a network sees them."""

    name: str
    title: str
    past: np.ndarray
    """(t_in, c, h, w)"""
    prediction: np.ndarray
    """(t_out, c, h, w)"""
    truth: np.ndarray | None = None
    """What really came, (t, c, h, w) with t <= t_out; None where the clip ends."""
    spec: InputSpec | None = None
    """Names and scale of the channels; None for frames in [0, 1]."""
    key: str = ""
    """Which one of its data it is; empty for data of one's own."""

    def save(self, stem: Path) -> list[Path]:
        """Write ``stem``.png, a strip with a row each for input, truth, prediction and error, and ``stem``.gif, in
        which the clip plays and the panels part where the prediction begins.  Frames of one or three channels in
        [0, 1] are drawn as images; of any others every channel has a picture of its own, ``stem``_CHANNEL, from its
        lowest to its highest true value."""
        paths, views = [], self.views()
        for name, (past, prediction, truth) in views.items():
            at = stem if len(views) == 1 else stem.with_name(f"{stem.name}_{for_names(name)}")
            title = self.title if name == "" else f"{self.title}, {name}"
            paths += save_prediction(at, past, prediction, truth, title)
        return paths

    def views(self) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
        """Past, prediction and truth as images (t, 1 or 3, h, w) in [0, 1]: one view named "" of frames that are
        images; one a channel, by its name, of any others, from its lowest to its highest true value."""
        channels = self.past.shape[1]
        if channels in (1, 3) and not (self.spec is not None and self.spec.unit):
            return {"": (self.past, self.prediction, self.truth)}
        names = self.spec.channels if self.spec is not None and self.spec.channels else range(channels)
        views = {}
        for i, name in enumerate(names):
            values = np.concatenate([x[:, i] for x in (self.past, self.truth) if x is not None])
            low, high = values.min(), values.max()
            past, prediction = ((x[:, i : i + 1] - low) / max(high - low, 1e-12) for x in (self.past, self.prediction))
            truth = None if self.truth is None else (self.truth[:, i : i + 1] - low) / max(high - low, 1e-12)
            views[str(name)] = (past, prediction, truth)
        return views


def rgb_rows(clip: PredictedClip) -> dict[str, dict[str, np.ndarray]]:
    """By view (:meth:`PredictedClip.views`) and row, frames (t, h, w, 3) uint8: input, prediction and, where it is
    known, truth and signed error."""
    found = {}
    for name, (past, prediction, truth) in clip.views().items():
        rows = {"input": _rgb(past), "prediction": _rgb(prediction)}
        if truth is not None:
            true = _rgb(truth)
            rows = {"input": rows["input"], "truth": true, "prediction": rows["prediction"]}
            rows["error"] = _signed_error(rows["prediction"][: len(true)], true)
        found[name] = rows
    return found


def save_prediction(
    stem: Path, past: np.ndarray, pred: np.ndarray, true: np.ndarray | None = None, title: str = ""
) -> list[Path]:
    """What :meth:`PredictedClip.save` does, for frames (t, 1 or 3, h, w) in [0, 1]."""
    past, pred, title = _rgb(past), _rgb(pred), one_line(title)
    truth = None if true is None else _rgb(true)
    error = None if true is None else _signed_error(pred[: len(true)], _rgb(true))
    rows = [("input", 1, past), ("truth", len(past) + 1, truth), ("prediction", len(past) + 1, pred)]
    rows += [("error", len(past) + 1, error)]
    legend = "" if error is None else "   (error: red too bright, blue too dark)"
    # frames are numbered in the row's label, as of one clip: the later rows follow the input in time
    labelled = {f"{k} {i}-{i + len(v) - 1}": _scaled(v, 64, 256) for k, i, v in rows if v is not None}
    strip = _strip(labelled, title + legend)
    png, gif = stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".gif")
    save_png(png, strip)
    slots = 3 if truth is not None else 1
    frames = [_panel([("input", past[i])], f"{title}  frame {i + 1}", slots) for i in range(len(past))]
    for i in range(len(pred)):
        panels = [("prediction", pred[i])]
        if truth is not None and error is not None and i < len(truth):
            panels = [("truth", truth[i]), *panels, ("error", error[i])]
        frames.append(_panel(panels, f"{title}  frame {len(past) + i + 1}", slots))
    save_gif(gif, frames, 200)
    return [png, gif]


def save_heat(stem: Path, frames: np.ndarray, heat: np.ndarray, title: str = "") -> list[Path]:
    """Write ``stem``.png: frames (t, c, h, w) as a network sees them, and below them heat (t, h, w) in [0, 1] over
    them.  Of other than 1 or 3 channels the mean is shown, from the lowest value to the highest."""
    if frames.shape[1] not in (1, 3):
        frames = frames.mean(1, keepdims=True)
        frames = (frames - frames.min()) / max(float(np.ptp(frames)), 1e-12)
    rgb = _rgb(frames)
    under = np.stack([overlay(frame, one) for frame, one in zip(rgb, heat, strict=True)])
    png = stem.with_name(stem.name + ".png")
    save_png(png, _strip({"input": _scaled(rgb, 64, 256), "came from": _scaled(under, 64, 256)}, one_line(title)))
    return [png]


def save_video(path: Path, frames: Iterable[np.ndarray], fps: float) -> None:
    """Write frames (1 or 3, h, w) in [0, 1] as H.264, one at a time; odd sizes lose nothing, an edge is repeated."""

    def even() -> Iterator[np.ndarray]:
        for frame in frames:
            rgb = _enlarged(_rgb(frame[None]), 256)[0]  # players blur what is tiny
            yield np.pad(rgb, ((0, rgb.shape[0] % 2), (0, rgb.shape[1] % 2), (0, 0)), mode="edge")

    save_mp4(path, even(), fps, crf=10)


def _rgb(frames: np.ndarray) -> np.ndarray:
    """(t, 1 or 3, h, w) in [0, 1] -> (t, h, w, 3) uint8."""
    out = np.empty((len(frames), *frames.shape[2:], 3), np.uint8)
    for to, frame in zip(out, frames, strict=True):  # floats of all frames at once are many, of large frames
        to[:] = (np.clip(np.nan_to_num(frame), 0.0, 1.0) * 255).round().transpose(1, 2, 0)
    return out


def _signed_error(pred: np.ndarray, true: np.ndarray) -> np.ndarray:
    """White where equal, red where the prediction is too bright, blue where it is too dark."""
    error = (pred.astype(np.int16) - true).mean(-1)
    fade = 255 - np.abs(error)
    red, blue = np.where(error < 0, fade, 255), np.where(error > 0, fade, 255)
    return np.stack([red, fade, blue], axis=-1).astype(np.uint8)


def _enlarged(frames: np.ndarray, least: int) -> np.ndarray:
    """Frames (t, h, w, 3) whose pixels are repeated as often as their longer side stays within ``least``."""
    scale = max(1, least // max(frames.shape[1:3]))
    return frames.repeat(scale, axis=1).repeat(scale, axis=2)


def _scaled(frames: np.ndarray, least: int, most: int) -> np.ndarray:
    """The same, or frames made smaller until their longer side is ``most``: a strip of large ones is seen by nobody."""
    longest = max(frames.shape[1:3])
    if longest <= most:
        return _enlarged(frames, least)
    h, w = (max(1, round(n * most / longest)) for n in frames.shape[1:3])
    return np.stack([np.asarray(Image.fromarray(f).resize((w, h), Image.Resampling.BOX)) for f in frames])


def _strip(rows: dict[str, np.ndarray], title: str) -> Image.Image:
    height, width = next(iter(rows.values())).shape[1:3]
    columns = max(map(len, rows.values()))
    top = CAPTION if title else 0
    font = ImageFont.load_default(13)
    size = (max(MARGIN + columns * (width + GAP), 8 + int(font.getlength(title))), top + len(rows) * (height + GAP))
    canvas = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(canvas)
    pen.text((4, 2), title, INK, font)
    for r, (name, frames) in enumerate(rows.items()):
        y = top + r * (height + GAP)
        pen.text((4, y + height // 2 - 8), name, INK, font)
        for i, frame in enumerate(frames):
            canvas.paste(Image.fromarray(frame), (MARGIN + i * (width + GAP), y))
    return canvas


def _panel(panels: list[tuple[str, np.ndarray]], caption: str, slots: int) -> Image.Image:
    """One GIF frame: panels side by side, each with its name, in a canvas wide enough for ``slots`` panels."""
    images = [_scaled(frame[None], 160, 480)[0] for _, frame in panels]
    height, width = images[0].shape[:2]
    canvas = Image.new("RGB", (slots * (width + GAP) - GAP, height + 2 * CAPTION), PAPER)
    pen = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(13)
    pen.text((4, 1), caption.strip(), INK, font)
    for i, ((name, _), image) in enumerate(zip(panels, images, strict=True)):
        pen.text((i * (width + GAP) + 4, CAPTION + 1), name, INK, font)
        canvas.paste(Image.fromarray(image), (i * (width + GAP), 2 * CAPTION))
    return canvas
