"""Always the newest frame of a camera, one waiting at most, counted frame by frame."""

import sys
import threading
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moga_st.data.video.camera import LiveCamera, open_camera, played
from moga_st.data.video.clips import Video
from moga_st.errors import BadInput


class Source:
    """A camera that takes a frame when the test says so; frame i is filled with i."""

    def __init__(self):
        self.allowed = threading.Semaphore(0)
        self.closed = False
        self.last: int | None = None

    def frames(self) -> Generator[tuple[float, np.ndarray], None, None]:
        i = 0
        try:
            while True:
                self.allowed.acquire()
                if self.last is not None and i > self.last:
                    return
                yield i / 10, np.full((4, 6, 3), i, np.uint8)
                i += 1
        finally:
            self.closed = True

    def take(self, camera: LiveCamera, count: int) -> None:
        """Take so many frames, and wait until they have come."""
        goal = camera.taken + count
        for _ in range(count):
            self.allowed.release()
        with camera._changed:
            assert camera._changed.wait_for(lambda: camera.taken >= goal, timeout=20)


def test_whoever_is_slow_gets_the_newest_frame_and_one_waits_at_most():
    source = Source()
    camera = LiveCamera(source.frames(), 10.0)
    with camera:
        frames = iter(camera)
        got = []
        for count in (1, 7, 1, 1, 30):
            source.take(camera, count)
            got.append(next(frames))
        assert [shot.number for shot in got] == [0, 7, 8, 9, 39]
        assert [int(shot.image[0, 0, 0]) for shot in got] == [0, 7, 8, 9, 39]
        assert [shot.time_s for shot in got] == pytest.approx([0, 0.7, 0.8, 0.9, 3.9])
        assert (camera.taken, camera.dropped, camera.most_waiting) == (40, 35, 1)
        source.last = 40
        source.take(camera, 1)
        source.allowed.release()
        assert [shot.number for shot in frames] == [40]  # the last one comes, and then it ends
    assert source.closed


def test_an_error_of_the_camera_reaches_who_asks_for_frames():
    def frames():
        yield 0.0, np.zeros((2, 2, 3), np.uint8)
        raise BadInput("camera 3: gives no more frames")

    with LiveCamera(frames(), 30.0) as camera, pytest.raises(BadInput, match="camera 3"):
        for _ in camera:
            pass


def test_a_video_is_played_at_its_own_rate():
    """By a clock of the test's: reading a frame takes 30 ms, looking at frame 3 takes 1 s."""
    clock, waits = [100.0], []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        clock[0] += seconds

    class Slow(Video):
        def __iter__(self):
            for i in range(self.frames):
                clock[0] += 0.03
                yield np.full((2, 2, 3), i, np.uint8)

    shown = []
    video = Slow(Path("v.mp4"), (2, 2), 10.0, 7)
    for time_s, image in played(video, lambda: clock[0], wait):
        shown.append((round(clock[0] - 100.03, 6), time_s, int(image[0, 0, 0])))
        clock[0] += 1.0 if len(shown) == 4 else 0.0
    assert [number for _, _, number in shown] == list(range(7))  # all of them: who looks is late, the camera is not
    assert [time_s for _, time_s, _ in shown] == pytest.approx([i / 10 for i in range(7)])
    assert [at for at, _, _ in shown] == pytest.approx([0, 0.1, 0.2, 0.3, 1.33, 1.36, 1.39])
    assert waits == pytest.approx([0.07, 0.07, 0.07])


def test_a_video_played_as_a_camera_loses_no_frame_without_counting_it(tmp_path):
    path = tmp_path / "v.gif"
    images = [Image.new("RGB", (16, 12), (10 * i,) * 3) for i in range(12)]
    images[0].save(path, save_all=True, append_images=images[1:], duration=20)
    with open_camera(str(path)) as camera:
        assert camera.fps == pytest.approx(50)
        numbers = [shot.number for shot in camera]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 11
    assert camera.taken == 12
    assert len(numbers) + camera.dropped == 12
    assert camera.most_waiting == 1


def test_what_is_no_camera_is_refused_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(BadInput, match=r"none\.mp4: no such video"):
        open_camera(str(tmp_path / "none.mp4"))
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(BadInput, match="video-pose") as error:
        open_camera("0")
    assert "\n" not in str(error.value)
