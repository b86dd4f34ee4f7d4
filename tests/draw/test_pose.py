import subprocess
import weakref
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from moga_st.data.pose.skeleton import BONES, LEFT, RIGHT
from moga_st.draw import files as draw_files
from moga_st.draw import pose as draw_pose
from moga_st.draw.pose import (
    BLUE,
    DARK,
    ORANGE,
    PANEL,
    PAPER,
    VIEWPOINTS,
    centre,
    draw_2d,
    draw_3d,
    save_lift,
    scene_of,
)
from moga_st.errors import BadInput

T, FPS, SIZE = 12, 50.0, (640, 480)
STANDING = np.array(
    [
        *[(0, 0, 0.9), (-0.15, 0, 0.9), (-0.2, 0, 0.5), (-0.2, 0, 0.1), (0.15, 0, 0.9), (0.2, 0, 0.5), (0.2, 0, 0.1)],
        *[(0, 0, 1.15), (0, 0, 1.4), (0, 0, 1.5), (0, 0, 1.65)],
        *[(0.2, 0, 1.4), (0.4, 0.1, 1.2), (0.5, 0.3, 1.0), (-0.2, 0, 1.4), (-0.4, -0.1, 1.2), (-0.5, -0.3, 1.0)],
    ]
)  # faces -y, the viewer at azimuth 0, so that the person's left is on the right of the picture


def clip() -> tuple[np.ndarray, np.ndarray]:
    """Keypoints and poses of a body that slides to +x by 0.02 m a frame, seen from far away at 200 px a metre."""
    poses = STANDING + np.arange(T)[:, None, None] * (0.02, 0, 0)
    keypoints = np.stack([100 + 200 * poses[..., 0], 400 - 200 * poses[..., 2], np.ones((T, 17))], axis=-1)
    return keypoints, poses


def pixel(image: Image.Image, xy: np.ndarray) -> tuple[int, ...]:
    x, y = np.floor(xy).astype(int).tolist()
    value = image.getpixel((x, y))
    assert isinstance(value, tuple)
    return value


def decoded(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The frames (t, h, w, 3) of a video."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path)]
    raw = subprocess.run([*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, size[1], size[0], 3).astype(int)


def colour_of(bone: tuple[int, int]) -> tuple[int, int, int]:
    return ORANGE if bone[1] in RIGHT else BLUE if bone[1] in LEFT else DARK


def test_input_panel_has_the_joints_where_the_keypoints_are_in_the_colours_of_their_sides():
    keypoints, _ = clip()
    window = draw_pose.windows_of(keypoints, SIZE, FPS)[0]
    left, top, side = window
    seen = keypoints[..., :2].reshape(-1, 2)
    assert left <= seen[:, 0].min()
    assert seen[:, 0].max() <= left + side
    assert top <= seen[:, 1].min()
    assert seen[:, 1].max() <= top + side
    panel = draw_2d(keypoints[0], SIZE, window)
    for a, b in BONES:
        middle = (keypoints[0, a, :2] + keypoints[0, b, :2]) / 2
        assert pixel(panel, (middle - (left, top)) * PANEL / side) == colour_of((a, b))
    for hand, colour in ((13, BLUE), (16, ORANGE)):
        assert pixel(panel, (keypoints[0, hand, :2] - (left, top)) * PANEL / side) == colour
    # the person faces us: left is on the right of the picture
    pixels = np.asarray(panel).astype(int)
    blue, orange = ((np.abs(pixels - np.array(c)).sum(-1) == 0).nonzero()[1] for c in (BLUE, ORANGE))
    assert orange.max() < blue.min()


def test_the_window_follows_a_person_inside_the_image():
    """One who walks 1500 px through an image of 2000, 200 px tall: always whole in a square that fits them."""
    shape = np.random.default_rng(0).uniform((-40, -100), (40, 100), (17, 2))
    shape[0], shape[1] = (0, -100), (0, 100)
    keypoints = np.ones((100, 17, 3))
    keypoints[..., :2] = shape + np.stack([200 + 15.0 * np.arange(100), np.full(100, 300.0)], -1)[:, None]
    keypoints[50, 4] = (5, 5, 0.1)  # not sure, so it does not count
    windows = np.array(draw_pose.windows_of(keypoints, (2000, 600), 25.0))
    left, top, side = windows.T
    assert len(set(side.tolist())) == 1
    assert 200 < side[0] < 450
    sure = np.where(keypoints[..., 2:] > 0.5, keypoints[..., :2], keypoints[:, :1, :2])
    assert (sure[..., 0].min(1) >= left).all()
    assert (sure[..., 0].max(1) <= left + side).all()
    assert (sure[..., 1].min(1) >= top).all()
    assert (sure[..., 1].max(1) <= top + side).all()
    assert (windows[:, :2] >= 0).all()
    assert (left + side <= 2000).all()
    assert (top + side <= 600).all()
    assert np.abs(np.diff(left[10:-10]) - 15).max() <= 1  # it glides
    # a person larger than the image: all of it, in the middle of the square
    keypoints[..., :2] = shape * 20
    (left, top, side), *_ = draw_pose.windows_of(keypoints, (640, 480), 25.0)
    assert (left, top, side) == (0, -80, 640)


def test_unsure_keypoints_are_hollow_and_the_image_lies_under_them():
    keypoints, _ = clip()
    keypoints[0, 13, 2] = 0.1
    rng = np.random.default_rng(0)
    image = np.repeat(np.repeat(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8), 10, 0), 10, 1)
    window = draw_pose.windows_of(keypoints, SIZE, FPS)[0]
    left, top, side = window
    panel = draw_2d(keypoints[0], SIZE, window, image)
    assert pixel(panel, (keypoints[0, 13, :2] - (left, top)) * PANEL / side) == PAPER
    assert pixel(panel, (keypoints[0, 16, :2] - (left, top)) * PANEL / side) == ORANGE
    for x, y in ((25, 395), (205, 395), (95, 55)):  # middles of blocks that are far from the body
        there = (np.array([x, y]) + 0.5 - (left, top)) * PANEL / side
        if (there > 0).all() and (there < PANEL).all():
            assert np.abs(np.subtract(pixel(panel, there), image[y, x])).max() <= 2


@pytest.mark.parametrize("view", VIEWPOINTS)
def test_3d_panel_has_the_bones_where_the_projection_says(view):
    _, poses = clip()
    centred = centre(poses, FPS)
    scene = scene_of(centred)
    panel = draw_3d(centred[3], scene, view)
    seen = view.project(centred[3])
    # the projection by hand
    a, e = np.radians(view.azimuth_deg), np.radians(view.elevation_deg)
    x, y, z = centred[3].T
    away = -np.sin(a) * x + np.cos(a) * y
    np.testing.assert_allclose(seen[:, 0], np.cos(a) * x + np.sin(a) * y, atol=1e-12)
    np.testing.assert_allclose(seen[:, 1], z * np.cos(e) + away * np.sin(e), atol=1e-12)
    np.testing.assert_allclose(seen[:, 2], z * np.sin(e) - away * np.cos(e), atol=1e-12)
    points = scene.to_px(seen)
    assert ((points > 0) & (points < PANEL)).all()
    for hand, colour in ((13, BLUE), (16, ORANGE)):
        assert pixel(panel, points[hand]) == colour
    head = (points[9] + points[10]) / 2
    assert pixel(panel, head) == DARK


def test_axes_are_equal():
    """For three edges of a cube at right angles, the squared lengths of an orthographic picture add up to
    2 (scale edge)^2 from everywhere, and upright edges are as long from both views."""
    scene = scene_of(centre(clip()[1], FPS))
    corner = np.array([0.3, -0.2, 0.4])
    edges = corner + 0.5 * np.eye(3)
    upright = []
    for view in VIEWPOINTS:
        origin, ends = scene.to_px(view.project(corner)), scene.to_px(view.project(edges))
        lengths = np.linalg.norm(ends - origin, axis=-1)
        assert (lengths**2).sum() == pytest.approx(2 * (scene.scale * 0.5) ** 2)
        upright.append(lengths[2])
    assert upright[0] == pytest.approx(upright[1])
    assert upright[0] == pytest.approx(scene.scale * 0.5 * np.cos(np.radians(VIEWPOINTS[0].elevation_deg)))


def test_the_nearer_limb_hides_the_farther():
    """Seen from the front, a left arm held before the body covers the spine, and one behind it does not."""
    _, poses = clip()
    view = VIEWPOINTS[0]
    for depth, colour in ((-0.4, BLUE), (0.4, DARK)):
        pose = centre(poses, FPS)[0]
        pose[11:14] = pose[8] + np.array([(0.1, depth, 0), (0.1, depth, -0.1), (0, depth, -0.1)])
        pose[12], pose[13] = pose[7] + (0.2, depth, 0.1), pose[7] + (-0.2, depth, 0.1)
        # shift in z so that the forearm crosses the spine in the picture, whatever its depth
        pose[12:14, 2] -= depth * np.tan(np.radians(view.elevation_deg))
        scene = scene_of(pose[None])
        crossing = scene.to_px(view.project(pose[7] + (0, 0, 0.1)))
        assert pixel(draw_3d(pose, scene, view), crossing) == colour


def test_the_viewer_follows_the_hip_over_a_floor_that_stays():
    _, poses = clip()
    centred = centre(poses, FPS)
    np.testing.assert_allclose(centred[..., 2], poses[..., 2])  # never up or down
    # shapes and their distances to each other's frames stay
    np.testing.assert_allclose(centred - centred[:, :1], poses - poses[:, :1], atol=1e-12)
    # a moving average of a second, longer than this clip, with the ends repeated
    xs = poses[:, 0, 0]
    padded = np.concatenate([np.full(T - 1, xs[0]), xs, np.full(T - 1, xs[-1])])
    slow = [padded[i : i + 2 * T - 1].mean() for i in range(T)]
    np.testing.assert_allclose(poses[:, 0, 0] - centred[:, 0, 0], slow)
    scene = scene_of(centred)
    assert scene.floor_m == pytest.approx(0.1)
    a, b = (np.asarray(draw_3d(centred[0], scene, VIEWPOINTS[0], (s, 0.0))).astype(int) for s in (0.0, 0.11))
    assert (a != b).any()
    np.testing.assert_array_equal(a, np.asarray(draw_3d(centred[0], scene, VIEWPOINTS[0], (draw_pose.TILE_M, 0.0))))


def test_files_can_be_read_and_last_as_long_as_the_clip(tmp_path):
    keypoints, poses = clip()
    png, gif, mp4 = save_lift(tmp_path / "a.b", keypoints, SIZE, poses, FPS, "a walk", truth_m=poses + 0.05)
    assert [p.name for p in (png, gif, mp4)] == ["a.b.png", "a.b.gif", "a.b.mp4"]
    with Image.open(gif) as picture:
        frames, durations = getattr(picture, "n_frames", 1), []
        for i in range(frames):
            picture.seek(i)
            durations.append(picture.info["duration"])
        assert frames == T // 2  # 50 fps is more than a GIF can do: every second frame
        assert durations == [40] * frames
        size = picture.size
        colours = set(map(tuple, np.asarray(picture.convert("RGB")).reshape(-1, 3).tolist()))
        assert {PAPER, ORANGE, BLUE, DARK} <= colours
    video = decoded(mp4, size)
    assert len(video) == T
    with Image.open(gif) as picture:
        assert np.abs(video[0] - np.asarray(picture.convert("RGB")).astype(int)).mean() < 4
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(mp4))
    assert (frames, seconds) == (T, pytest.approx(T / FPS, abs=0.011))
    strip = np.asarray(Image.open(png))
    # truth is drawn: its thin grey is nowhere without it
    without = np.asarray(Image.open(save_lift(tmp_path / "b", keypoints, SIZE, poses, FPS)[0]))
    assert (strip[60:] == without[60:]).all(-1).mean() < 0.999


def test_pictures_count_seconds_from_the_beginning_of_the_source(tmp_path, monkeypatch):
    keypoints, poses = clip()
    said, sheet_of = [], draw_pose.sheet_of
    monkeypatch.setattr(draw_pose, "sheet_of", lambda *args: said.append(args) or sheet_of(*args))
    save_lift(tmp_path / "late", keypoints, SIZE, poses, FPS, "a walk", begin_s=7.5)
    (strip, first, second, *_) = said
    assert (strip[3][0], strip[3][-1]) == ("7.50 s", f"{7.5 + (T - 1) / FPS:.2f} s")
    assert (first[1], second[1][:14]) == (f"a walk   7.50 s, frame 1 of {T}", "a walk   7.52 ")


@pytest.mark.parametrize("fps", [24.0, 30.0, 59.94])
def test_gif_delays_add_up(tmp_path, fps):
    frames = [Image.new("L", (4, 4), 10 * i).convert("P") for i in range(20)]
    draw_files.save_gif(tmp_path / "a.gif", frames, draw_pose._durations_ms(len(frames), fps))
    with Image.open(tmp_path / "a.gif") as picture:
        total = 0
        for i in range(20):
            picture.seek(i)
            total += picture.info["duration"]
    assert total == pytest.approx(20_000 / fps, abs=5)


def test_one_frame_is_enough_and_images_are_used(tmp_path):
    keypoints, poses = clip()
    image = np.full((1, 480, 640, 3), (10, 200, 30), np.uint8)
    png, gif, mp4 = save_lift(tmp_path / "one", keypoints[:1], SIZE, poses[:1], 30.0, frames=list(image))
    green = (np.asarray(Image.open(png).convert("RGB")) == (10, 200, 30)).all(-1).sum()
    assert green > 0.5 * (PANEL // 2) ** 2
    with Image.open(gif) as picture:
        assert getattr(picture, "n_frames", 1) == 1
    assert imageio_ffmpeg.count_frames_and_secs(str(mp4))[0] == 1


def test_images_are_held_one_at_a_time(tmp_path):
    keypoints, poses = clip()
    alive: list[weakref.ref] = []
    most = 0

    class Frames:
        def __iter__(self):
            nonlocal most
            for _ in range(T):
                image = np.zeros((480, 640, 3), np.uint8)
                alive.append(weakref.ref(image))
                most = max(most, sum(ref() is not None for ref in alive))
                yield image

    save_lift(tmp_path / "x", keypoints, SIZE, poses, FPS, frames=Frames())
    assert len(alive) == 2 * T
    assert most <= 3  # the one drawn, the one before it and the one after


def test_a_long_clip_is_drawn_in_part_and_says_so(tmp_path, monkeypatch):
    """Frame i of 25 has brightness 10 i; every third is in the video, and the GIF, which is short, has what it had."""
    monkeypatch.setattr(draw_pose, "MOST_SHEETS", 9)
    titles, sheet_of = [], draw_pose.sheet_of

    def noted(columns, title, *rest):
        titles.append(title)
        return sheet_of(columns, title, *rest)

    monkeypatch.setattr(draw_pose, "sheet_of", noted)
    t, points = 25, np.concatenate([np.full((25, 17, 2), 40.0), np.ones((25, 17, 1))], -1)
    images = [np.full((80, 80, 3), 10 * i, np.uint8) for i in range(t)]
    save_lift(tmp_path / "a", points, (80, 80), np.repeat(STANDING[None], t, 0), 30.0, frames=images)
    size = (3 * PANEL + 2 * draw_pose.GAP, 2 * draw_pose.LINE + PANEL + draw_pose.GAP)
    shown = decoded(tmp_path / "a.mp4", size)[:, 2 * draw_pose.LINE + 20, 20].mean(-1)
    np.testing.assert_allclose(shown, 30 * np.arange(9), atol=3)
    with Image.open(tmp_path / "a.gif") as gif:
        assert getattr(gif, "n_frames", 0) == 25
    assert titles[-1] == "0.80 s, frame 25 of 25, of which every 3rd is drawn"
    assert [draw_pose.drawn_every(n) for n in (1, 9, 10, 27, 28)] == [1, 1, 2, 3, 4]
    said = [draw_pose.ordinal(n) for n in (2, 3, 4, 11, 21, 112)]
    assert said == ["2nd", "3rd", "4th", "11th", "21st", "112th"]


def test_bad_input(tmp_path):
    keypoints, poses = clip()
    stem = tmp_path / "x"
    with pytest.raises(BadInput, match="keypoints_px"):
        save_lift(stem, keypoints[:5], SIZE, poses, FPS)
    with pytest.raises(BadInput, match="poses_m"):
        save_lift(stem, keypoints, SIZE, np.where(poses > 1, np.nan, poses), FPS)
    with pytest.raises(BadInput, match="t > 0"):
        save_lift(stem, keypoints[:0], SIZE, poses[:0], FPS)
    with pytest.raises(BadInput, match="truth_m"):
        save_lift(stem, keypoints, SIZE, poses, FPS, truth_m=poses[:, :5])
    with pytest.raises(BadInput, match="12 images of 640x480"):
        save_lift(stem, keypoints, SIZE, poses, FPS, frames=[np.zeros((640, 480, 3), np.uint8)] * T)
    image = np.zeros((480, 640, 3), np.uint8)
    with pytest.raises(BadInput, match="expected 12 images, got 11"):
        save_lift(stem, keypoints, SIZE, poses, FPS, frames=[image] * (T - 1))
    with pytest.raises(BadInput, match=r"expected 12 images.* as number 13"):
        save_lift(stem, keypoints, SIZE, poses, FPS, frames=[image] * (T + 1))
    with pytest.raises(BadInput, match="fps"):
        save_lift(stem, keypoints, SIZE, poses, 0.0)
    assert not list(tmp_path.iterdir())
