"""`eval --motion`: a lifter scored on people that were never in its training file."""

import json

import pytest
import torch

from moga_st import pretrained
from moga_st.data.pose.bvh import write_bvh
from moga_st.data.pose.generated import generate_clip
from moga_st.data.pose.own_motion import prepare
from moga_st.models.lifter import LifterConfig
from moga_st.models.person import PersonLifterConfig
from tests.test_cli import run


@pytest.fixture
def motion(tmp_path):
    for number, subject in enumerate(("anna", "bob")):
        (tmp_path / "src" / subject).mkdir(parents=True)
        write_bvh(tmp_path / "src" / subject / "walk.bvh", generate_clip(number, "walk", 0, 20), 50.0)
    prepare(tmp_path / "src", tmp_path / "mine.h5")
    return tmp_path / "mine.h5"


@pytest.mark.parametrize("recipe", ["lifter", "cmu_moga_27f"])
def test_people_of_another_file_are_scored_with_no_training_data_at_hand(motion, tmp_path, capsys, monkeypatch, recipe):
    (tmp_path / "none").mkdir()
    monkeypatch.setenv("MOGA_ST_DATA", str(tmp_path / "none"))
    monkeypatch.setattr("moga_st.data.pose.checks.ACTIONS", ("walk",))
    monkeypatch.setattr("moga_st.draw.pose.save_lift", lambda *_, **__: [])
    torch.manual_seed(0)
    config = PersonLifterConfig(width=8, depth=1) if recipe == "lifter" else LifterConfig(width=8, depth=1)
    weights = tmp_path / "w.safetensors"
    pretrained.export_weights(weights, config.build(), config, {})
    command = ["eval", weights, "--recipe", recipe, "--motion", motion, "--device", "cpu", "--json"]
    found = {}
    for subjects in ([], ["bob"]):
        flags = ["--subjects", *subjects] if subjects else []
        code, out, err = run(capsys, *command, *flags)
        assert code == 0, err
        record = json.loads(out)
        found[tuple(subjects)] = record["scores"]["model"]["means"]["mpjpe"]
        assert "mean pose" not in json.dumps(record["scores"])  # nobody was trained on
        assert "own motion from src" in record["facts"]["data"]
    assert found[()] != found["bob",]
    assert (tmp_path / "w_mine" / "eval.json").is_file()
    code, _, err = run(capsys, *command, "--subjects", "carl")
    assert code == 2
    assert "mine.h5 has no carl; there are anna, bob" in err
    code, _, err = run(capsys, "eval", weights, "--recipe", recipe, "--subjects", "bob")
    assert code == 2
    assert "--subjects: are those of a file of --motion" in err
