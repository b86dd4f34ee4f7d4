"""Who looks for people in the frames of `moga-st lift`, as its flags have it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from moga_st.cli.lift_flags import Lift, given_for_mmpose
from moga_st.errors import BadInput

if TYPE_CHECKING:
    import torch

    from moga_st.data.video.clips import Video


class Finder(Protocol):
    """A frame (h, w, 3) -> its people, each (j, 3): x, y in pixels and confidence, in the joint layout named."""

    name: str
    layout: str

    def __call__(self, frame: np.ndarray) -> np.ndarray: ...


def make_finder(args: Lift, fps: float, device: torch.device, people: int | None = None) -> Finder:
    """MediaPipe's or mmpose's.

    Args:
        fps: of the frames.
        people: at most so many, where they can be counted beforehand; left out, as many as the finder has unless told.
    """
    from moga_st.integrations import mediapipe

    either = args.finder == "auto" and not given_for_mmpose(args)
    if args.finder == "mediapipe" or (either and mediapipe.is_there()):
        return mediapipe.PeopleFinder(fps) if people is None else mediapipe.PeopleFinder(fps, people)
    if either and importlib.util.find_spec("mmpose") is None:
        raise BadInput(
            "finding people in a video needs MediaPipe (pip install 'moga-st[video-pose]'; its networks come with it) "
            "or mmpose (pip install 'moga-st[mmpose]'), each in an environment of its own, for both hold numpy below "
            "2. Without them, give the 2D keypoints that another program found, and the video beside it"
        )
    from moga_st.integrations import mmpose_2d

    return mmpose_2d.PeopleFinder(device, args.pose2d, args.pose2d_weights, args.detector, args.detector_weights)


def find_people(args: Lift, video: Video, device: torch.device, out: Path) -> float:
    """Write the keypoints of everyone in a video; returns how many frames a second that took."""
    import time

    from tqdm import tqdm

    from moga_st.data.pose.keypoints import write_people
    from moga_st.storage import write_atomically

    find = make_finder(args, video.fps, device)
    out.parent.mkdir(parents=True, exist_ok=True)  # before the search, which would be lost
    start = time.perf_counter()
    people = [find(frame) for frame in tqdm(video, "finding people", video.frames, unit="frame")]
    rate = len(people) / (time.perf_counter() - start)
    write_atomically(out, lambda part: write_people(part, people, video.size_px, video.fps, find.layout, find.name))
    return rate
