"""A camera, or a video played as one.  Who asks gets the newest frame; one waits at most, older ones are dropped."""

from __future__ import annotations

import importlib
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from moga_st.data.video.clips import Video, open_video
from moga_st.errors import BadInput

FPS = 30.0  # of a camera that does not say


class Snapshot(NamedTuple):
    """One frame."""

    number: int  # of all that the camera took, from 0
    time_s: float  # since the first
    image: np.ndarray  # (h, w, 3) uint8 RGB


class LiveCamera:
    """In a ``with``: takes frames in a thread of its own, and iterating gives the newest each time, as soon as there is
    one that was not given yet, until the camera ends.

    Args:
        frames: the times in seconds and the images (h, w, 3), each as it is taken; closed in the end.
        fps: frames a second, about.
    """

    def __init__(self, frames: Generator[tuple[float, np.ndarray], None, None], fps: float):
        self.fps = fps
        self.taken = 0
        """Frames so far."""
        self.dropped = 0
        """Of them, those that a newer one took the place of before anyone asked."""
        self.most_waiting = 0
        """Frames that waited at once."""
        self._frames, self._waiting = frames, deque[Snapshot](maxlen=1)
        self._changed = threading.Condition()
        self._ended, self._error = False, None
        self._thread = threading.Thread(target=self._take, daemon=True)

    def __enter__(self) -> LiveCamera:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._ended = True
        self._thread.join(2.0)  # a camera that hangs is left to the end of the process

    def __iter__(self) -> Iterator[Snapshot]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ended)
                if not self._waiting:
                    if self._error is not None:
                        raise self._error
                    return
                snapshot = self._waiting.popleft()
            yield snapshot

    def _take(self) -> None:
        try:
            for time_s, image in self._frames:
                with self._changed:
                    if self._ended:
                        break
                    self.dropped += len(self._waiting)
                    self._waiting.append(Snapshot(self.taken, time_s, image))
                    self.most_waiting = max(self.most_waiting, len(self._waiting))
                    self.taken += 1
                    self._changed.notify_all()
        except Exception as error:  # for who asks
            self._error = error
        finally:
            self._frames.close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()


def open_camera(what: str) -> LiveCamera:
    """A camera by its number, 0 for the first, or a video file to be played as one, at its own rate.

    Raises:
        BadInput: no such camera or video, or OpenCV, which reads cameras, is not there.
    """
    if not what.isdigit():
        video = open_video(Path(what))
        return LiveCamera(played(video), video.fps)
    return _device(int(what))


def played(
    video: Video, now: Callable[[], float] = time.monotonic, wait: Callable[[float], None] = time.sleep
) -> Generator[tuple[float, np.ndarray], None, None]:
    """A video's frames, each when its time has come."""
    start = None
    for i, image in enumerate(video):
        start = now() if start is None else start  # decoding the first takes longer
        if (early := start + i / video.fps - now()) > 0:
            wait(early)
        yield i / video.fps, image


def _device(number: int) -> LiveCamera:
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError as error:
        raise BadInput(
            "camera: OpenCV, which reads it, is not there; it comes with pip install 'moga-st[video-pose]'"
        ) from error
    cv2.setLogLevel(0)  # it would say in its own words what is said below
    device = cv2.VideoCapture(number)
    if not device.isOpened():
        raise BadInput(f"camera {number}: cannot be opened; is it plugged in, and free? 0 is the first one")
    fps = device.get(cv2.CAP_PROP_FPS)

    def frames() -> Generator[tuple[float, np.ndarray], None, None]:
        try:
            start = time.monotonic()
            while True:
                there, image = device.read()
                if not there:
                    raise BadInput(f"camera {number}: gives no more frames; plug it in again")
                yield time.monotonic() - start, np.ascontiguousarray(image[..., ::-1])
        finally:
            device.release()

    return LiveCamera(frames(), fps if 1 <= fps <= 1000 else FPS)
