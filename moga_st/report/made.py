"""The pages of what `predict` and `lift` made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from moga_st.data.pose.export.motion import AXES, Motion
from moga_st.draw.video import PredictedClip
from moga_st.report.media import Person, add_clips, add_stages, encode, stage
from moga_st.report.page import MAX_MB, Page
from moga_st.report.results import plain

VIDEO_SHARE = 0.6
"""Of what a page may weigh, for the frames of the video that people were lifted from."""


def prediction_page(
    clip: PredictedClip,
    scores: dict[str, float],
    rows: Sequence[tuple[str, Any]],
    conventions: dict[str, str] | None = None,
    copy_last: dict[str, float] | None = None,
    max_mb: float = MAX_MB,
) -> Page:
    """A clip with its prediction, and its truth as far as it is known.

    Args:
        scores: means over the frames that could be compared.
        rows: what else is to be said: names and values.
        conventions: what each of the scores means.
        copy_last: the same scores for the last frame of the input in place of every prediction.
    """
    copied = {name: f"copy last: {value:.4g}" for name, value in (copy_last or {}).items()}
    page = Page(clip.title, "Predicted by moga_st", max_mb)
    if scores:
        page.add("tiles", "", tiles=[[name, plain(value), copied.get(name, "")] for name, value in scores.items()])
    add_clips(page, "Prediction", [clip])
    groups = [{"title": "", "rows": [list(row) for row in rows]}]
    if conventions:
        groups.append({"title": "What the scores mean", "rows": [list(row) for row in conventions.items()]})
    page.add("facts", "How it was made", groups=groups)
    return page


def lift_page(
    title: str,
    motions: Sequence[Motion],
    frames: Iterable[np.ndarray] | None = None,
    warnings: Sequence[str] = (),
    rows: Sequence[tuple[str, Any]] = (),
    max_mb: float = MAX_MB,
) -> Page:
    """Everyone that was lifted from one source in one scene, beside the video.

    Args:
        frames: the video's frames (h, w, 3) uint8 from the first person's first frame on, in the motions' rate.
        warnings: what to know of the input.
        rows: what else is to be said: names and values.
    """
    page = Page(title, "Lifted to 3D by moga_st", max_mb)
    first = min(float(m.time_s[0]) for m in motions)
    starts = [round((float(m.time_s[0]) - first) * m.fps) for m in motions]
    count = max(s + len(m.poses_m) for s, m in zip(starts, motions, strict=True))
    people = [
        Person(f"person {m.person}", s, m.poses_m, None, m.keypoints_px, m.contacts)
        for s, m in zip(starts, motions, strict=True)
    ]
    budget = int(VIDEO_SHARE * max_mb * 2**20)
    video = None if frames is None else encode(frames, count, budget, lossless=False)
    space = motions[0].space
    about = {"space": space, "warnings": list(warnings), "note": f"Axes: {AXES[space]}."}
    size = next((m.size_px for m in motions if m.size_px is not None), None)
    add_stages(page, "The people", [stage(page, title, title, motions[0].fps, size, people, video, **about)])
    notes = [(f"person {m.person}", m.note) for m in motions]
    page.add("facts", "How it was made", groups=[{"title": "", "rows": [list(r) for r in (*rows, *notes)]}])
    return page
