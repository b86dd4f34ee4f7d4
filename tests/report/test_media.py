"""Frames within what a page may weigh, poses in whole millimetres, and the pages of `predict` and `lift`."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from moga_st.data.pose.skeleton import JOINTS
from moga_st.draw.images import ClassifiedImage
from moga_st.draw.pose import LiftedClip
from moga_st.draw.video import PredictedClip
from moga_st.report.made import lift_page, prediction_page
from moga_st.report.media import add_examples, add_same_lifted, encode
from moga_st.report.page import Page
from moga_st.spec import InputSpec
from tests.report.bodies import motion, walking


def noise(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def decoded(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def test_small_frames_are_kept_to_the_bit():
    frames = noise(5, 16)
    for frame, content in zip(frames, encode(frames, 5, 10**6), strict=True):
        np.testing.assert_array_equal(decoded(content), frame)


@pytest.mark.parametrize("budget", [600_000, 100_000, 30_000])
def test_frames_get_smaller_until_they_fit(budget):
    encoded = encode(iter(noise(12, 300)), 12, budget)
    assert len(encoded) == 12
    assert sum(len(base64.b64encode(content)) for content in set(encoded)) <= budget
    shape = decoded(encoded[0]).shape
    assert shape[0] <= 300
    if budget == 600_000:
        assert shape[0] > 96  # no smaller than it has to be


def test_frames_beyond_the_count_are_left_out():
    assert len(encode(iter(noise(9, 8)), 4, 10**6)) == 4


def test_equal_neighbours_are_kept_once():
    page = Page("still")
    still = np.zeros((6, 1, 8, 8), np.float32)
    add_examples(page, [PredictedClip("best", "still", still[:3], still[3:], still[3:])], "Examples")
    rows = {row["name"]: row["frames"]["images"] for row in page.sections[0]["examples"][0]["channels"][0]["rows"]}
    assert {name: len(images) for name, images in rows.items()} == dict.fromkeys(rows, 3)
    assert len({image["blob"] for image in rows["truth"]}) == 1


def test_fields_of_several_channels_have_a_view_each():
    spec = InputSpec((2, 2, 8, 8), (2, 2, 8, 8), ("u", "v"), unit="m/s")
    values = np.random.default_rng(0).normal(size=(4, 2, 8, 8)).astype(np.float32)
    page = Page("winds")
    add_examples(page, [PredictedClip("best", "winds", values[:2], values[2:], values[2:], spec)], "Examples")
    channels = page.sections[0]["examples"][0]["channels"]
    assert [channel["name"] for channel in channels] == ["u", "v"]
    low, high = values[:, 1].min(), values[:, 1].max()
    image = channels[1]["rows"][0]["frames"]["images"][1]
    shown = decoded(base64.b64decode(page.blobs[image["blob"]]))[..., 0]
    np.testing.assert_array_equal(shown, np.round(np.clip((values[1, 1] - low) / (high - low), 0, 1) * 255))


def test_poses_are_whole_millimetres():
    keypoints, size, fps, made, truth = walking()
    page = Page("poses")
    add_examples(page, [LiftedClip("best", "a pose", keypoints, size, fps, made, truth)], "Poses")
    (person,) = page.sections[0]["stages"][0]["people"]
    for name, expected in (("poses", made), ("truth", truth)):
        packed = person[name]
        found = np.frombuffer(base64.b64decode(page.blobs[packed["blob"]]), "<i2").reshape(packed["shape"])
        np.testing.assert_allclose(found / 1000, expected, atol=0.0005 + 1e-9)
    assert page.sections[0]["joints"] == list(JOINTS)


def test_the_same_people_stand_side_by_side_each_with_its_truth():
    keypoints, size, fps, made, truth = walking()
    lifted = {
        "a": LiftedClip("median", "median of 9, MPJPE 20.0 mm", keypoints, size, fps, made, truth),
        "b": LiftedClip("sequence 4", "sequence 4, MPJPE 0.0 mm", keypoints, size, fps, truth, truth),
    }
    page = Page("poses")
    add_same_lifted(page, "Poses", [lifted])
    (stage,) = page.sections[0]["stages"]
    assert stage["title"] == "a: median of 9, MPJPE 20.0 mm; b: sequence 4, MPJPE 0.0 mm"
    assert [person["name"] for person in stage["people"]] == ["a", "b"]
    a, b = (
        {k: np.frombuffer(base64.b64decode(page.blobs[person[k]["blob"]]), "<i2") for k in ("poses", "truth")}
        for person in stage["people"]
    )
    moved = (b["truth"] - a["truth"]).reshape(-1, 3)
    np.testing.assert_array_equal(moved, np.broadcast_to([1300, 0, 0], moved.shape))
    np.testing.assert_array_equal(b["poses"], b["truth"])
    assert "keypoints" not in stage["people"][1]  # both have the same, which is drawn once


def test_images_are_pictures_with_their_titles_for_alternatives():
    page = Page("images")
    add_examples(page, [ClassifiedImage("best", "seven, 98 %", np.zeros((8, 8, 1), np.uint8))], "Examples")
    (picture,) = page.sections[0]["pictures"]
    assert picture["alt"] == "seven, 98 %"
    assert base64.b64decode(page.blobs[picture["blob"]]).startswith(b"\x89PNG")


def test_a_prediction_beyond_the_clips_end_has_no_truth_and_no_error():
    frames = np.zeros((4, 1, 8, 8), np.float32)
    page = prediction_page(PredictedClip("predicted", "clip.npy", frames[:2], frames[2:]), {}, [("weights", "w")])
    assert [s["kind"] for s in page.sections] == ["clips", "facts"]
    rows = page.sections[0]["examples"][0]["channels"][0]["rows"]
    assert [row["name"] for row in rows] == ["input", "prediction"]


def test_a_predictions_page_says_what_its_scores_mean():
    frames = np.zeros((4, 1, 8, 8), np.float32)
    clip = PredictedClip("predicted", "clip.npy", frames[:2], frames[2:], frames[2:])
    page = prediction_page(clip, {"mse": 0.0}, [("weights", "w")], {"mse": "summed over c, h, w"})
    assert page.sections[0]["tiles"] == [["mse", 0.0, ""]]
    told = page.sections[-1]["groups"][-1]
    assert (told["title"], told["rows"]) == ("What the scores mean", [["mse", "summed over c, h, w"]])


def test_a_long_video_of_people_stays_below_the_pages_limit():
    frames = (frame for frame in noise(30, 240))
    page = lift_page("two.mp4", [motion(1), motion(2, first=10)], frames, max_mb=1.0)
    assert len(page.html()) < 1.0 * 2**20 + 700_000  # three.js, and nothing else beyond
    stage = json.loads(page.document())["sections"][0]["stages"][0]
    assert (stage["frames"], len(stage["video"]["images"])) == (30, 30)
    assert [person["start"] for person in stage["people"]] == [0, 10]
