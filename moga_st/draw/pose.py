"""Pictures of lifted poses: the 2D input beside the 3D result from two viewpoints.  Pure numpy and Pillow.

The 3D panels are orthographic with one scale for all axes, both views and all frames, so that lengths can
be compared across the picture; they follow the hip over a floor that stays.  The person's right is orange
and the left is blue (after Okabe and Ito: colour-blind readers tell them apart), spine and head are dark.

Shape legend: ``t`` frames, 17 joints (Human3.6M-17), ``h w`` size; all panels are square.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from moga_st.data.pose.skeleton import BONES, LEFT, RIGHT
from moga_st.draw.files import one_line, save_gif, save_mp4, save_png
from moga_st.errors import BadInput

ORANGE, BLUE, DARK = (230, 140, 0), (0, 95, 190), (70, 70, 70)
PAPER, INK, GRID, EDGE = (255, 255, 255), (40, 40, 40), (205, 209, 215), (170, 174, 180)
BLANK, SHADOW, TRUTH = (243, 244, 246), (190, 193, 198), (110, 110, 110)
PANEL = 360  # pixels
GAP, LINE = 8, 20  # pixels between panels, and for a line of text
BONE, HALO, JOINT = 5.0, 1.5, 3.7  # pixels: width of a bone, of the white around it, radius of a joint
SUPER = 3  # drawn this much larger, then averaged down: smooth edges
FREE = 0.06  # of a panel on each side
TILE_M, FLOOR_M = 0.5, 0.8  # side of a floor tile, and the least radius of the floor
FAINT = 0.3  # a 2D joint of less confidence is drawn hollow
UNSEEN = "  (not seen: invented)"  # a frame in which no joint was found
GIF_FPS, GIF_SECONDS, STRIP_COLUMNS = 33, 12, 6
MOST_SHEETS = 2000  # of an mp4: a minute's work, where 10,000 took five

COLOURS = tuple(ORANGE if j in RIGHT else BLUE if j in LEFT else DARK for j in range(17))

Window = tuple[int, int, int]  # left, top and side of the square of the image that is shown, in its pixels


@dataclass(frozen=True)
class Viewpoint:
    """A distant viewer of a z-up world.  At azimuth 0 they look along +y; with a positive one they have walked
    around the person, anticlockwise seen from above; ``elevation_deg`` raises them."""

    name: str
    azimuth_deg: float
    elevation_deg: float

    def project(self, points_m: np.ndarray) -> np.ndarray:
        """(..., 3) -> (..., 3): metres to the viewer's right, up, and towards the viewer (orthographic)."""
        return points_m @ self._axes

    @cached_property
    def _axes(self) -> np.ndarray:
        a, e = math.radians(self.azimuth_deg), math.radians(self.elevation_deg)
        right = np.array([math.cos(a), math.sin(a), 0.0])
        back = np.array([math.sin(a) * math.cos(e), -math.cos(a) * math.cos(e), math.sin(e)])
        return np.stack([right, np.cross(back, right), back], axis=-1)


VIEWPOINTS = (Viewpoint("3D, from the camera", 0.0, 15.0), Viewpoint("3D, from the right", 75.0, 15.0))


@dataclass(frozen=True)
class Scene:
    """What all 3D panels of a clip share."""

    scale: float  # pixels a metre
    floor_m: float  # height of the floor
    radius_m: float  # of the floor that is drawn
    middle_m: float  # what ``Viewpoint.project`` calls up, at the middle of a panel

    def to_px(self, projected_m: np.ndarray) -> np.ndarray:
        """What :meth:`Viewpoint.project` gives (..., 3) -> x and y in a panel (..., 2)."""
        x, up = projected_m[..., 0], projected_m[..., 1] - self.middle_m
        return np.stack([PANEL / 2 + self.scale * x, PANEL / 2 - self.scale * up], axis=-1)


@dataclass(frozen=True, eq=False)
class LiftedClip:
    """Keypoints, the poses that a network made of them, and the true ones; z up, y away from the camera."""

    name: str
    title: str
    keypoints_px: np.ndarray
    """(t, 17, 3): x and y in pixels, and confidence."""
    size_px: tuple[int, int]
    """Width and height of the image."""
    fps: float
    poses_m: np.ndarray
    """(t, 17, 3) root-relative."""
    truth_m: np.ndarray | None = None
    """(t, 17, 3) root-relative; None where it is not known."""
    key: str = ""
    """Which one of its data it is; empty for data of one's own."""

    def save(self, stem: Path) -> list[Path]:
        """See :func:`save_lift`."""
        shown = (self.keypoints_px, self.size_px, self.poses_m, self.fps, self.title)
        return save_lift(stem, *shown, truth_m=self.truth_m)


def save_lift(
    stem: Path,
    keypoints_px: np.ndarray,
    size_px: tuple[int, int],
    poses_m: np.ndarray,
    fps: float,
    title: str = "",
    frames: Iterable[np.ndarray] | None = None,
    truth_m: np.ndarray | None = None,
    begin_s: float = 0.0,
) -> list[Path]:
    """Write ``stem``.png (a strip of frames), ``stem``.gif (at most 33 fps, the first 12 s) and ``stem``.mp4
    (every frame; of a long clip every so many, as :func:`drawn_every` has it and each picture's title says).

    Args:
        keypoints_px: the 2D input (t, 17, 3): x and y in pixels, and confidence.
        size_px: width and height of the image that the keypoints lie in.
        poses_m: the result (t, 17, 3), z up, y away from the camera; in the world or relative to the hip.
        frames: the t images (h, w, 3) uint8 to draw the input on, which are gone through twice, holding one at a
            time; a blank canvas without.
        truth_m: true poses (t, 17, 3) in the axes of ``poses_m``, drawn as thin grey lines.
        begin_s: the time of the first frame in its source, from which the pictures count.

    Raises:
        BadInput: shapes or lengths that do not go together, or values that are not finite.
    """
    t, title = len(poses_m), one_line(title)
    _check_shapes(t, keypoints_px=keypoints_px, poses_m=poses_m, truth_m=truth_m)
    if not (fps > 0 and min(size_px) > 0):
        raise BadInput(f"fps and size_px must be positive, got {fps} and {size_px}")
    centred, truth = centre(poses_m, fps), None if truth_m is None else centre(truth_m, fps, poses_m)
    floor_xy = poses_m[:, 0, :2] - centred[:, 0, :2]  # where the middle of the floor shown lies in the world
    scene, windows = scene_of(centred), windows_of(keypoints_px, size_px, fps)
    unseen, every = (keypoints_px[..., 2] == 0).all(1), drawn_every(t)
    said = f", of which every {ordinal(every)} is drawn" if every > 1 else ""
    legend = [("right", ORANGE), ("left", BLUE), *([("truth", TRUTH)] if truth_m is not None else [])]

    def panels(i: int, image: np.ndarray | None) -> list[Image.Image]:
        flat, true = draw_2d(keypoints_px[i], size_px, windows[i], image), None if truth is None else truth[i]
        return [flat, *(draw_3d(centred[i], scene, view, floor_xy[i], true) for view in VIEWPOINTS)]

    def sheet(i: int, image: np.ndarray | None) -> Image.Image:
        caption = f"{title}   {begin_s + i / fps:.2f} s, frame {i + 1} of {t}{said}{UNSEEN if unseen[i] else ''}"
        return sheet_of([panels(i, image)], caption.strip(), legend)

    columns = np.unique(np.linspace(0, t - 1, STRIP_COLUMNS).round().astype(int)).tolist()
    picked = [panels(i, image) for i, image in enumerate(_images(frames, t, size_px)) if i in columns]
    strip = sheet_of(
        picked, title, legend, [f"{begin_s + i / fps:.2f} s{UNSEEN if unseen[i] else ''}" for i in columns]
    )
    png, gif, mp4 = (stem.with_name(stem.name + suffix) for suffix in (".png", ".gif", ".mp4"))
    save_png(png, strip)
    # photographs need dithering, lines on paper are better without
    dither = Image.Dither.NONE if frames is None else Image.Dither.FLOYDSTEINBERG
    smaller = partial(Image.Image.quantize, palette=_palette(strip), dither=dither)
    sheets = (partial(sheet, i, image) for i, image in enumerate(_images(frames, t, size_px)))
    _animate(gif, mp4, sheets, t, fps, smaller)
    return [png, gif, mp4]


def _animate(
    gif: Path,
    mp4: Path,
    sheets: Iterable[Callable[[], Image.Image]],
    count: int,
    fps: float,
    smaller: Callable[[Image.Image], Image.Image],
) -> None:
    """The ``count`` sheets, each drawn only where it is wanted: for the video as many as it takes, and as they come by
    for the GIF, as ``smaller`` makes them, those that it has time for."""
    step, every = math.ceil(fps / GIF_FPS), drawn_every(count)
    kept, small = range(0, min(count, math.ceil(GIF_SECONDS * fps)), step), []

    def passing() -> Iterator[Image.Image]:
        for i, draw in enumerate(sheets):
            whole = draw() if i in kept or i % every == 0 else None
            if whole is not None and i in kept:
                small.append(smaller(whole))
            if whole is not None and i % every == 0:
                yield whole

    save_mp4(mp4, passing(), fps / every, crf=20)
    save_gif(gif, small, _durations_ms(len(small), fps / step))


def drawn_every(t: int) -> int:
    """Of a clip of ``t`` frames every so many are drawn: all, or as few as :data:`MOST_SHEETS` pictures leave."""
    return math.ceil(t / MOST_SHEETS)


def ordinal(n: int) -> str:
    """2nd, 3rd, 4th, 11th, ..."""
    return f"{n}{'th' if n % 100 in (11, 12, 13) else {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th')}"


def _check_shapes(t: int, **arrays: np.ndarray | None) -> None:
    for name, array in arrays.items():
        if array is not None and (array.shape != (t, 17, 3) or not t or not np.isfinite(array).all()):
            raise BadInput(f"{name}: expected finite values of shape ({t or 't > 0'}, 17, 3), got {array.shape}")


def _images(frames: Iterable[np.ndarray] | None, t: int, size_px: tuple[int, int]) -> Iterator[np.ndarray | None]:
    """The t images, checked as they come, or t times None."""
    if frames is None:
        yield from itertools.repeat(None, t)
        return
    count = 0
    for count, image in enumerate(frames, 1):
        if count > t or image.shape[:2] != tuple(size_px[::-1]):
            raise BadInput(
                f"frames: expected {t} images of {size_px[0]}x{size_px[1]} pixels, got one of shape {image.shape} as "
                f"number {count}; give the video that the keypoints were found in"
            )
        yield image
    if count < t:
        raise BadInput(f"frames: expected {t} images, got {count}; give the video that the keypoints were found in")


def centre(poses_m: np.ndarray, fps: float, around_m: np.ndarray | None = None) -> np.ndarray:
    """Poses (t, 17, 3) moved so that the path of the hip (of ``around_m`` if given), averaged over a second and
    laid on the floor, is the origin: the viewer walks along without wobbling."""
    path = _mean_over_a_second((poses_m if around_m is None else around_m)[:, 0].astype(np.float64), fps)
    return poses_m - path[:, None] * (1, 1, 0)


def _mean_over_a_second(x: np.ndarray, fps: float) -> np.ndarray:
    """Moving average of (t, c), the ends repeated."""
    width = min(2 * round(fps / 2) + 1, 2 * len(x) - 1)
    padded = np.pad(x, ((width // 2, width // 2), (0, 0)), mode="edge")
    total = np.cumsum(np.pad(padded, ((1, 0), (0, 0))), axis=0)
    return (total[width:] - total[:-width]) / width


def scene_of(centred_m: np.ndarray) -> Scene:
    """The one scale at which every frame fits into both views, and the floor, under the lowest joints
    (2nd percentile over the frames, so that one bad frame does not sink it)."""
    floor_m = float(np.percentile(centred_m[..., 2].min(1), 2))
    radius_m = max(float(np.linalg.norm(centred_m[..., :2], axis=-1).max()), FLOOR_M)
    rim = radius_m * np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])
    points = np.concatenate([centred_m.reshape(-1, 3), np.column_stack([rim, np.full(4, floor_m)])])
    seen = np.concatenate([view.project(points) for view in VIEWPOINTS])
    low, high = float(seen[:, 1].min()), float(seen[:, 1].max())
    extent = max(2 * float(np.abs(seen[:, 0]).max()), high - low)
    return Scene(PANEL * (1 - 2 * FREE) / extent, floor_m, radius_m, (low + high) / 2)


def windows_of(keypoints_px: np.ndarray, size_px: tuple[int, int], fps: float) -> list[Window]:
    """For each frame of (t, 17, 3) a square around the keypoints that are surely seen, of one size for all frames.  It
    follows their middle, averaged over a second, and shows no more than there is of the image."""
    seen = keypoints_px[..., 2:] >= FAINT
    seen |= ~seen.any(1, keepdims=True)  # a frame in which nothing is sure
    low = np.where(seen, keypoints_px[..., :2], np.inf).min(1)
    high = np.where(seen, keypoints_px[..., :2], -np.inf).max(1)
    middle = _mean_over_a_second((low + high) / 2, fps)
    reach = np.maximum(middle - low, high - middle).max()
    side = max(1, min(math.ceil(2 * reach / (1 - 2 * FREE)), max(size_px)))
    room = np.array(size_px) - side  # negative where the image is narrower than the square: it stands in the middle
    corner = np.where(room < 0, room / 2, np.clip(middle - side / 2, 0, np.maximum(room, 0)))
    return [(left, top, side) for left, top in corner.round().astype(int).tolist()]


def draw_2d(
    keypoints_px: np.ndarray | None, size_px: tuple[int, int], window: Window, image: np.ndarray | None = None
) -> Image.Image:
    """One frame of the input (17, 3), or nobody, on its image (h, w, 3) or a blank canvas: a panel."""
    left, top, side = window
    corners = (np.array([(0, 0), size_px]) - (left, top)) * PANEL / side
    sketch = _Sketch()
    if image is not None:
        cut = Image.fromarray(image).convert("RGB").crop((left, top, left + side, top + side))
        sketch.image.paste(cut.resize(sketch.image.size, Image.Resampling.BICUBIC))
    else:
        sketch.pen.rectangle((*(corners[0] * SUPER), *(corners[1] * SUPER)), BLANK, EDGE, SUPER)
    if keypoints_px is not None:
        points = (keypoints_px[:, :2] - (left, top)) * PANEL / side
        sketch.skeleton(points, np.zeros(17), keypoints_px[:, 2] >= FAINT)
    return sketch.done()


def draw_3d(
    centred_m: np.ndarray,
    scene: Scene,
    view: Viewpoint,
    floor_xy_m: np.ndarray | Sequence[float] = (0.0, 0.0),
    truth_m: np.ndarray | None = None,
) -> Image.Image:
    """One pose (17, 3) over the floor, whose tiles are fixed to a world in which the panel's middle lies at
    ``floor_xy_m``: a panel."""
    sketch = _Sketch()

    def flat(points_m: np.ndarray) -> np.ndarray:
        ground = np.concatenate([points_m[..., :2], np.full((*points_m.shape[:-1], 1), scene.floor_m)], axis=-1)
        return scene.to_px(view.project(ground))

    radius = scene.radius_m
    for axis in (0, 1):  # the tile edges that cross a disc around the middle
        first = math.ceil((floor_xy_m[axis] - radius) / TILE_M) * TILE_M - floor_xy_m[axis]
        for offset in np.arange(first, radius, TILE_M):
            half = math.sqrt(max(radius**2 - offset**2, 0.0))
            chord = np.array([[offset, -half], [offset, half]])
            sketch.line(flat(chord if axis == 0 else chord[:, ::-1]), GRID, 1.0)
    shadow = flat(centred_m)
    for bone in BONES:
        sketch.line(shadow[list(bone)], SHADOW, BONE)
    seen = view.project(centred_m)
    sketch.skeleton(scene.to_px(seen), seen[:, 2], np.ones(17, bool))
    if truth_m is not None:
        points = scene.to_px(view.project(truth_m))
        for bone in BONES:
            sketch.line(points[list(bone)], TRUTH, 1.2)
    return sketch.done()


class _Sketch:
    """A panel drawn ``SUPER`` times larger; all coordinates are in pixels of the finished one."""

    def __init__(self) -> None:
        self.image = Image.new("RGB", (PANEL * SUPER, PANEL * SUPER), PAPER)
        self.pen = ImageDraw.Draw(self.image)

    def dot(self, point: np.ndarray, colour: tuple[int, int, int], radius: float) -> None:
        x, y = (point * SUPER).tolist()
        self.pen.ellipse((x - radius * SUPER, y - radius * SUPER, x + radius * SUPER, y + radius * SUPER), colour)

    def line(self, ends: np.ndarray, colour: tuple[int, int, int], width: float) -> None:
        """From (2, 2)[0] to [1], with round ends."""
        self.pen.line([tuple(p) for p in (ends * SUPER).tolist()], colour, round(width * SUPER))
        if width > 2:
            for end in ends:
                self.dot(end, colour, width / 2)

    def skeleton(self, points: np.ndarray, nearness: np.ndarray, sure: np.ndarray) -> None:
        """Joints (17, 2), the far ones first; those that are not ``sure`` are hollow."""
        for a, b in sorted(BONES, key=lambda bone: nearness[list(bone)].mean()):
            self.line(points[[a, b]], PAPER, BONE + 2 * HALO)
            self.line(points[[a, b]], COLOURS[b], BONE)
        for j in np.argsort(nearness, kind="stable"):
            self.dot(points[j], COLOURS[j], JOINT)
            if not sure[j]:
                self.dot(points[j], PAPER, JOINT - 1.2)

    def done(self) -> Image.Image:
        return self.image.reduce(SUPER)


def sheet_of(
    columns: list[list[Image.Image]],
    title: str,
    legend: list[tuple[str, tuple[int, int, int]]],
    captions: list[str] | None = None,
) -> Image.Image:
    """Panels with their names.  One column is laid out as a row; several are columns, each with its caption."""
    names = ["2D input", *(view.name for view in VIEWPOINTS)]
    rows = [columns[0]] if captions is None else [list(row) for row in zip(*columns, strict=True)]
    if captions is not None:  # a strip shows many: half size
        rows = [[panel.reduce(2) for panel in row] for row in rows]
    side, margin = rows[0][0].width, 0 if captions is None else 140
    width = margin + len(rows[0]) * (side + GAP) - GAP
    canvas = Image.new("RGB", (width + width % 2, 2 * LINE + len(rows) * (side + GAP)), PAPER)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    pen.text((4, 2), title, INK, font)
    x = canvas.width - 4
    for text, colour in reversed(legend):
        x -= pen.textlength(text, font)
        pen.text((x, 2), text, INK, font)
        pen.line((x - 24, LINE // 2 + 1, x - 6, LINE // 2 + 1), colour, 4 if colour != TRUTH else 1)
        x -= 36
    for r, row in enumerate(rows):
        y = 2 * LINE + r * (side + GAP)
        for c, panel in enumerate(row):
            canvas.paste(panel, (margin + c * (side + GAP), y))
            if r == 0:
                pen.text((margin + c * (side + GAP) + 4, LINE + 2), (captions or names)[c], INK, font)
        if captions is not None:
            pen.text((4, y + side // 2 - 8), names[r], INK, font)
    return canvas


def _palette(strip: Image.Image) -> Image.Image:
    """One palette for all frames, so that nothing flickers, with the colours that must be exact in it."""
    exact = np.array([PAPER, ORANGE, BLUE, DARK, BLANK])
    found = np.array(strip.quantize(256 - len(exact)).getpalette()).reshape(-1, 3)[: 256 - len(exact)]
    near = np.abs(found[:, None] - exact).max(-1).min(-1) <= 8  # Pillow would take one of these for its neighbour
    image = Image.new("P", (1, 1))
    image.putpalette(np.concatenate([exact, found[~near]]).ravel().tolist())
    return image


def _durations_ms(frames: int, fps: float) -> list[int]:
    """Delays are whole centiseconds, so they are rounded together: the clip lasts as long as it should."""
    ends = [round(100 * (i + 1) / fps) * 10 for i in range(frames)]
    return [b - a for a, b in zip([0, *ends[:-1]], ends, strict=True)]
