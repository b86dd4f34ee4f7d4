"""Examples, predicted clips and lifted people as sections: frames as pictures, poses in whole millimetres.

Shape legend: ``t`` frames, ``h w`` size, ``c`` channels, 17 joints.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from moga_st.data.pose.skeleton import BONES, JOINTS, LEFT, RIGHT
from moga_st.draw.images import ClassifiedImage
from moga_st.draw.pose import LiftedClip
from moga_st.draw.video import PredictedClip, rgb_rows
from moga_st.report.page import Page

CLIPS_SHARE = 0.6
"""Of what a page may weigh, for the frames of its clips; the rest is for everything else."""
LADDER = ((0, 100), (640, 80), (400, 72), (256, 60), (160, 50), (96, 40))
"""Longest side (0: as it is) and quality (100: lossless) of a clip's frames, tried until they are light enough."""
BESIDE_M = 1.3
"""Between people that stand side by side to be compared."""
POSES_MM = 32_767  # what an int16 holds


@dataclass(frozen=True, eq=False)
class Person:
    """One person on a stage, z up."""

    name: str
    start: int
    """The stage's frame in which they appear."""
    poses_m: np.ndarray
    """(t, 17, 3)"""
    truth_m: np.ndarray | None = None
    """(t, 17, 3), in the same axes."""
    keypoints_px: np.ndarray | None = None
    """(t, 17, 3): x, y, confidence."""
    contacts: np.ndarray | None = None
    """(t, 2): whether the left and the right foot stand."""


def add_examples(page: Page, examples: Sequence[Any], title: str, text: str = "") -> None:
    """Add what a task gave as examples: a section a kind."""
    clips = [e for e in examples if isinstance(e, PredictedClip)]
    lifted = [e for e in examples if isinstance(e, LiftedClip)]
    images = [e for e in examples if isinstance(e, ClassifiedImage)]
    if clips:
        add_clips(page, title, clips, text)
    if lifted:
        add_lifted(page, title, lifted, text)
    if images:
        pictures = [{"title": e.title, "alt": e.title, "type": "image/png", **_png(page, e)} for e in images]
        page.add("pictures", title, text=text, pictures=pictures)


def add_clips(page: Page, title: str, clips: Sequence[PredictedClip], text: str = "") -> None:
    """Add predicted clips as playable animations."""
    budget = int(CLIPS_SHARE * page.max_mb * 2**20 / len(clips))
    found = [_clip(page, clip, rgb_rows(clip), budget) for clip in clips]
    page.add("clips", title, text=text, examples=found)


def add_same_clips(page: Page, title: str, groups: Sequence[dict[str, PredictedClip]], text: str = "") -> None:
    """Add clips that several results predicted, each with its truth once: a group an example, by the result's name."""
    budget = int(CLIPS_SHARE * page.max_mb * 2**20 / len(groups))
    found = []
    for group in groups:
        views: dict[str, dict[str, np.ndarray]] = {}
        for name, clip in group.items():
            for view, rows in rgb_rows(clip).items():
                own = {row if row in ("input", "truth") else f"{row}, {name}": x for row, x in rows.items()}
                views.setdefault(view, {}).update({k: v for k, v in own.items() if k not in views.get(view, {})})
        found.append({**_clip(page, next(iter(group.values())), views, budget), "title": _titles(group)})
    page.add("clips", title, text=text, examples=found)


def _clip(page: Page, clip: PredictedClip, named: dict[str, dict[str, np.ndarray]], budget: int) -> dict[str, Any]:
    channels = []
    for name, rows in named.items():
        frames = np.concatenate(list(rows.values()))
        encoded = encode(frames, len(frames), budget // len(named))
        packed, first = [], 0
        for row, values in rows.items():
            part = encoded[first : first + len(values)]
            first += len(values)
            packed.append({"name": row, "role": row.partition(",")[0], "frames": pictures(page, part)})
        channels.append({"name": name, "rows": packed})
    inputs, outputs = len(clip.past), len(clip.prediction)
    fps = clip.spec.fps if clip.spec is not None and clip.spec.fps else 5.0
    return {
        "name": clip.name,
        "title": clip.title,
        "inputs": inputs,
        "frames": inputs + outputs,
        "fps": min(max(fps, 1.0), 15.0),
        "channels": channels,
    }


def encode(frames: Iterable[np.ndarray], count: int, budget: int, lossless: bool = True) -> list[bytes]:
    """Frames (h, w, 3) uint8 as WebP that weigh at most ``budget`` bytes together as base64, as good as that allows.
    They are gone through once, holding one at a time.

    Args:
        count: how many there are about; those beyond are left out.
        lossless: whether they may be kept to the bit.
    """
    step = 0 if lossless else 1
    encoded: list[bytes] = []
    for frame in itertools.islice(frames, count):
        if not encoded:  # the first one tells about where to begin
            while step < len(LADDER) - 1 and _base64_size([_webp(frame, *LADDER[step])]) * count > budget:
                step += 1
        encoded.append(_webp(frame, *LADDER[step]))
    while _base64_size(encoded) > budget and step < len(LADDER) - 1:
        step += 1
        encoded = [_webp(_decoded(content), *LADDER[step]) for content in encoded]
    while _base64_size(set(encoded)) > budget and len(set(encoded)) > 1:
        # far too many: every second one is shown twice as long
        encoded = [encoded[_leader(encoded, i)] for i in range(len(encoded))]
    return encoded


def _leader(encoded: Sequence[bytes], i: int) -> int:
    """The first of the two groups of equal frames that frame ``i`` is in one of."""
    group = 1
    while group < len(encoded) and encoded[group] == encoded[0]:
        group += 1
    return i - i % (2 * group)


def _base64_size(parts: Iterable[bytes]) -> int:
    return sum(-(-len(part) // 3) * 4 for part in parts)


def _decoded(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def _webp(frame: np.ndarray, side: int, quality: int) -> bytes:
    image = Image.fromarray(frame)
    if side and max(image.size) > side:
        image.thumbnail((side, side), Image.Resampling.BICUBIC)
    content = io.BytesIO()
    image.save(content, "WEBP", lossless=quality == 100, quality=60 if quality == 100 else quality, method=2)
    return content.getvalue()


def pictures(page: Page, encoded: Iterable[bytes]) -> dict[str, Any]:
    """Frames for the front end; equal neighbours are kept once."""
    images: list[dict[str, int]] = []
    before: bytes | None = None
    for content in encoded:
        images.append(images[-1] if content == before else {"blob": page.blob(content)})
        before = content
    return {"type": "image/webp", "images": images}


def _png(page: Page, example: ClassifiedImage) -> dict[str, int]:
    content = io.BytesIO()
    example.picture().save(content, "PNG")
    return {"blob": page.blob(content.getvalue())}


def add_lifted(page: Page, title: str, lifted: Sequence[LiftedClip], text: str = "") -> None:
    """Add lifted clips with their truth, one stage for all of them."""
    stages = [
        stage(page, e.name, e.title, e.fps, e.size_px, [Person("prediction", 0, e.poses_m, e.truth_m, e.keypoints_px)])
        for e in lifted
    ]
    add_stages(page, title, stages, text)


def add_same_lifted(page: Page, title: str, groups: Sequence[dict[str, LiftedClip]], text: str = "") -> None:
    """Add clips that several results lifted, side by side on one stage, each with the truth: a group an example."""
    stages = []
    for group in groups:
        people = []
        for i, (name, e) in enumerate(group.items()):
            aside = np.array([BESIDE_M * i, 0.0, 0.0])
            truth = None if e.truth_m is None else e.truth_m + aside
            people.append(Person(name, 0, e.poses_m + aside, truth, e.keypoints_px if i == 0 else None))
        first = next(iter(group.values()))
        stages.append(stage(page, first.name, _titles(group), first.fps, first.size_px, people))
    add_stages(page, title, stages, text)


def _titles(group: Mapping[str, PredictedClip | LiftedClip]) -> str:
    """What each result's example says of itself, its score above all."""
    return "; ".join(f"{name}: {example.title}" for name, example in group.items())


def add_stages(page: Page, title: str, stages: Sequence[dict[str, Any]], text: str = "") -> None:
    """Add stages (:func:`stage`) that the reader chooses from."""
    body = {"bones": [list(b) for b in BONES], "joints": list(JOINTS), "left": list(LEFT), "right": list(RIGHT)}
    page.add("people", title, text=text, stages=list(stages), **body)


def stage(
    page: Page,
    name: str,
    title: str,
    fps: float,
    size_px: tuple[int, int] | None,
    people: Sequence[Person],
    video: Sequence[bytes] | None = None,
    **about: Any,
) -> dict[str, Any]:
    """People in one space and one time.

    Args:
        size_px: width and height of the image that keypoints lie in.
        video: the stage's frames as WebP.
        about: plain JSON that is shown beside it.
    """
    frames = max(p.start + len(p.poses_m) for p in people)
    return {
        "name": name,
        "title": title,
        "fps": fps,
        "frames": frames,
        "size": list(size_px) if size_px is not None else None,
        "people": [_person(page, p) for p in people],
        "video": None if video is None else pictures(page, video),
        **about,
    }


def _person(page: Page, p: Person) -> dict[str, Any]:
    found: dict[str, Any] = {"name": p.name, "start": p.start, "poses": page.array(_mm(p.poses_m), "i2")}
    if p.truth_m is not None:
        found["truth"] = page.array(_mm(p.truth_m), "i2")
    if p.keypoints_px is not None:
        # pixels to a quarter, within what an int16 holds
        places = np.clip(np.round(p.keypoints_px[..., :2] * 4), -POSES_MM, POSES_MM)
        found["keypoints"] = page.array(places, "i2")
        found["confidence"] = page.array(np.round(np.clip(p.keypoints_px[..., 2], 0, 1) * 100), "u1")
        invented = (p.keypoints_px[..., 2] <= 0).all(1)
        if invented.any():
            found["invented"] = page.array(invented, "u1")
    if p.contacts is not None:
        found["contacts"] = page.array(p.contacts, "u1")
    return found


def _mm(poses_m: np.ndarray) -> np.ndarray:
    return np.clip(np.round(np.nan_to_num(poses_m) * 1000), -POSES_MM, POSES_MM)
