"""Video files through ffmpeg, the program that imageio-ffmpeg brings.

ffmpeg tells a file's format by its content. It may open this one file only, and as a video only: no network, no
playlist that names other files. It runs as a process of its own, which writes its frames into a pipe and says on
another what its decoder made, so that each frame's time is known, and whether the decoder called it corrupt.
"""

from __future__ import annotations

import re
import subprocess
import threading
import warnings
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from queue import SimpleQueue
from typing import IO, NamedTuple

import imageio_ffmpeg
import numpy as np

from moga_st.data.video.clip import Clip, DamagedClip, Timeline, check_size, even
from moga_st.errors import BadInput

FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,ogg,asf,flv,h264,hevc,vvc,av1,obu,ivf,m4v,mjpeg,dv,mxf,mxf_opatom,nut,rm,vc1,"
    "wtv,yuv4mpegpipe,nsv,dirac,dnxhd,cavsvideo,gxf,lxf,flic,swf,vob,dhav,h263,h261,apv,evc,webp_anim"
)
SEEK_FROM_S = 3.0  # a frame later than this is sought, not decoded up to
MOST_LINES = 5000  # of complaints in a row, without a frame: some decoders never end on damaged input
_DECODED = re.compile(r"decoder -> .*?pts_time:(\S+) ")
_FPS = re.compile(r" Video: .* (\d+(?:\.\d+)?) fps,")
NTSC = {"23.98": 24000 / 1001, "29.97": 30000 / 1001, "59.94": 60000 / 1001, "119.88": 120000 / 1001}
_FLAGS = ("[h264", "[hevc", "[info]")  # whose decoders flag each frame that is not whole
# what the others say as they go on, or ffmpeg of a packet that no frame came of; "[in#0" and the like have a hash
_SAYS_DAMAGED = re.compile(
    r"^\[\w+ @ .*(damaged|conceal|[Ee]rror (at|while|in)|illegal|overread|out of range)|\[dec:.*\[error\]"
)
_CAUSES = {
    "matches no streams": "holds no moving picture, only sound or text",
    "moov atom not found": "the index of the recording is missing (it was cut off, or is no video)",
    "Invalid data found": "no video that can be read, or damaged from the beginning",
    "whitelisted": "a kind of file that names other files or is no video",
    "Decoder not found": "a codec that is not supported",
}
AGAIN = "save it again as .mp4"


def open_ffmpeg(path: Path) -> FFmpegClip:
    """Open a video file: its packets are looked through, without decoding, and its first frame is decoded.

    Raises:
        BadInput: it is no video, or no whole frame can be decoded.
    """
    times_s, last_s, base_s, coded, cut, said_fps = _look_through(path)
    check_size(path, *coded)
    if cut:  # the last frames lack others that came after the cut but belong before them
        usual = 1.5 * float(np.quantile(np.diff(times_s), 0.25)) if len(times_s) > 1 else 0.0
        gaps = np.flatnonzero(np.diff(times_s) > usual)
        late = gaps[gaps >= len(times_s) - 17]
        times_s = times_s[: late[0] + 1] if len(late) else times_s
    delays = np.append(np.diff(times_s), 0.0)
    delays[-1] = last_s or (np.median(delays[:-1]) if len(delays) > 1 else 0.0)
    timeline = even(path, delays)
    # stamps of whole milliseconds, as .mkv has them, blur a rate that the file names exactly
    fps = said_fps if said_fps and abs(timeline.fps / said_fps - 1) < 0.01 else timeline.fps
    about = (len(timeline.shown), fps)
    own_times = {"timeline": timeline, "times_s": times_s, "base_s": base_s, "cut": cut}
    clip = FFmpegClip(path, coded, ("red", "green", "blue"), *about, **own_times)
    with closing(clip._own_frames(0.0)) as own:
        first = next(own, None)
    if first is None:
        raise BadInput(f"{path}: damaged from the beginning, no whole frame can be decoded; copy or record it again")
    clip.size_px = (first[1].shape[1], first[1].shape[0])
    return clip


def _command(path: Path, *options: str) -> list[str]:
    # "file:" keeps a name such as "concat:x" or "-y" a name
    only_this = ["-protocol_whitelist", "file", "-format_whitelist", FORMATS]
    general = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-nostats", "-v", "level+info", "-copyts"]
    return [*general, *only_this, *options, "-i", f"file:{path}", "-map", "0:V:0"]


def _look_through(path: Path) -> tuple[np.ndarray, float, float | None, tuple[int, int], bool, float | None]:
    """When each frame begins, from the first one on, in s; how long the last is shown, 0 if unknown; the first one's
    time stamp, None where there are none; the coded width and height; whether the file was cut off; and the rate that
    it names."""
    unit, size, packets = Fraction(1), (0, 0), []
    command = [*_command(path), "-c", "copy", "-f", "framecrc", "pipe:1"]
    with _Process(command) as ffmpeg:
        for raw in ffmpeg.out:
            line = raw.decode("utf-8", "replace")
            if line.startswith("#tb 0:"):
                unit = Fraction(line.split(":")[1].strip())
            elif line.startswith("#dimensions 0:"):
                width, _, height = line.split(":")[1].strip().partition("x")
                size = (int(width), int(height))
            elif not line.startswith("#"):
                stamps = [f.strip() for f in line.split(",")]
                if "F=0x4" not in stamps:  # a packet that is only decoded for those after it
                    packets.append([None if s == "NOPTS" or s.startswith("-92233720") else int(s) for s in stamps[1:4]])
        said = ffmpeg.complaints()
    if not packets:
        unknown = "damaged, none of its frames is whole" if size != (0, 0) else "no video that can be read"
        cause = next((c for text, c in _CAUSES.items() if any(text in line for line in said)), unknown)
        raise BadInput(f"{path}: {cause}; {AGAIN}, or give another file")
    cut = any("ended prematurely" in line or "partial file" in line or "runcat" in line for line in said)
    named = next((m for m in map(_FPS.search, said) if m), None)
    fps = None if named is None else NTSC.get(named.group(1), float(named.group(1)))
    dts, pts, lasts = zip(*packets, strict=True)
    for stamps in (pts, dts):
        if None not in stamps:
            ticks = np.sort(np.array(stamps, np.int64))
            base = float(ticks[0] * unit) if stamps is pts else None
            last = max(packets, key=lambda p: (p[1] if stamps is pts else p[0]) or 0)[2] or 0
            return (ticks - ticks[0]) * float(unit), max(0, last) * float(unit), base, size, cut, fps
    last = max((t for t in lasts if t), default=0) * float(unit) or 0.04
    return np.arange(len(packets)) * last, last, None, size, cut, fps


@dataclass
class FFmpegClip(Clip):
    """A video file: (h, w, 3) uint8 RGB."""

    timeline: Timeline = field(default_factory=lambda: Timeline(1.0, np.zeros(0, np.int64)))
    times_s: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """When each of the file's own frames begins, from the first one's beginning."""
    base_s: float | None = None
    """The first one's time stamp; None where the file has none, and frames can only be counted."""
    cut: bool = False
    """The file ends early."""

    def read(self, first: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        shown = self.timeline.shown[first : self.frames if stop is None else min(stop, self.frames)]
        if not len(shown):
            return
        times = self.times_s[shown].tolist()
        given = 0
        with closing(self._frames_at(times)) as frames:
            for frame in frames:
                given += 1
                yield frame
        if given == 0:
            raise BadInput(f"{self.path}: damaged before frame {first}, no whole frame can be decoded from there on")
        if given < len(shown) or (self.cut and first + given == self.frames):
            warnings.warn(
                f"{self.path}: damaged or cut off; its first {first + given} frames serve", DamagedClip, stacklevel=2
            )

    def _frames_at(self, times_s: list[float]) -> Generator[np.ndarray, None, None]:
        """At each of these moments, in their order, the last frame that has begun; it ends where the damage is."""
        own = self._from(times_s[0])
        try:
            now, after = next(own, None), next(own, None)
            for moment in times_s:
                while after is not None and after[0] <= moment + 1e-3:
                    now, after = after, next(own, None)
                if now is None or (after is None and moment > now[0] + 1e-3):
                    return
                yield now[1]
        finally:
            own.close()

    def _from(self, at_s: float) -> Generator[tuple[float, np.ndarray], None, None]:
        """Own frames from one at or before ``at_s`` on."""
        if at_s > SEEK_FROM_S and self.base_s is not None:
            sought = self._own_frames(at_s)
            one = next(sought, None)
            if one is not None and one[0] <= at_s + 1e-3:  # else seeking came too late, as it may in some formats
                yield one
                yield from sought
                return
            sought.close()
        yield from self._own_frames(0.0)

    def _own_frames(self, at_s: float) -> Generator[tuple[float, np.ndarray], None, None]:
        """The file's own whole frames with their times, up to the first damage; from the beginning, or from a key frame
        near ``at_s``."""
        seek: list[str] = []
        if at_s > 0 and self.base_s is not None:
            seek = ["-noaccurate_seek", "-ss", f"{self.base_s + at_s - 0.5:.6f}"]
        # each picture with its own header: what ffmpeg says of their size can be torn apart by what another thread says
        output = ["-fps_mode", "passthrough", "-pix_fmt", "rgb24", "-c", "ppm", "-f", "image2pipe", "pipe:1"]
        with _Process([*_command(self.path, "-debug_ts", *seek), *output]) as ffmpeg:
            good = 0
            for event in ffmpeg.events():
                whole = isinstance(event, _Decoded) and event.whole
                if not whole and good:
                    return  # here whole frames end
                if not isinstance(event, _Decoded):
                    continue
                frame = self._next_frame(ffmpeg.out)
                if frame is None:
                    return
                if not whole:
                    continue
                known = event.time_s is not None and self.base_s is not None
                yield (event.time_s - self.base_s if known else self._counted(good)), frame  # type: ignore[operator]
                good += 1

    def _next_frame(self, out: IO[bytes]) -> np.ndarray | None:
        """(h, w, 3) from a binary PPM picture; None where they end."""
        header = [out.readline() for _ in range(3)]
        if header[0] != b"P6\n" or not header[-1].endswith(b"\n"):
            return None
        width, height = map(int, header[1].split())
        check_size(self.path, width, height)
        frame = np.empty((height, width, 3), np.uint8)
        return frame if out.readinto(frame.reshape(-1).data) == frame.nbytes else None  # type: ignore[attr-defined]

    def _counted(self, number: int) -> float:
        return float(self.times_s[min(number, len(self.times_s) - 1)])


class _Decoded(NamedTuple):
    """The decoder gave a frame."""

    time_s: float | None
    whole: bool


class _Process:
    """ffmpeg while it runs, in a ``with``: ``out`` is what it writes; what it says is read by a thread."""

    def __init__(self, command: list[str]):
        self._command = command

    def __enter__(self) -> _Process:
        self._ran = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=1 << 16
        )
        assert self._ran.stdout is not None
        self.out: IO[bytes] = self._ran.stdout
        self._said = SimpleQueue[str | None]()
        self._listens = threading.Thread(target=self._listen, daemon=True)
        self._listens.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ran.kill()
        self._listens.join()
        self.out.close()
        self._ran.wait()

    def complaints(self) -> list[str]:
        """All that it said, once it has ended."""
        return list(iter(self._said.get, None))

    def events(self) -> Iterator[_Decoded | str]:
        """What it says as it decodes: a frame, or what is wrong with the file."""
        corrupt = False
        for line in iter(self._said.get, None):
            decoded = _DECODED.search(line)
            if decoded is not None:
                time_s = decoded.group(1)
                yield _Decoded(None if time_s == "NOPTS" else float(time_s), whole=not corrupt)
                corrupt = False
            elif "[dec:" in line and "corrupt decoded frame" in line:
                corrupt = True
            elif _SAYS_DAMAGED.search(line) and not line.startswith(_FLAGS):
                yield line

    def _listen(self) -> None:
        assert self._ran.stderr is not None
        complaints = 0
        with self._ran.stderr as said:
            for raw in said:
                line = raw.decode("utf-8", "replace")
                complaints = 0 if "decoder ->" in line else complaints + ("[error]" in line)
                if complaints > MOST_LINES:
                    self._ran.kill()
                if complaints < 100 and ("decoder ->" in line or "demuxer" not in line):
                    self._said.put(line)
        self._said.put(None)
