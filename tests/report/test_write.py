"""Pages from runs and records: what they say is what the files say."""

import base64
import dataclasses
import itertools
import json

import numpy as np
import pytest

from moga_st.cli import report as verb
from moga_st.errors import BadInput
from moga_st.report import examples as kept
from moga_st.report.compare import compare_page, group_by_protocol
from moga_st.report.page import Page
from moga_st.report.results import find_results, read_record, read_run
from moga_st.report.write import page_of, write_run_page
from moga_st.scores import Scores


def section(page: Page, title: str):
    return next(s for s in page.sections if s["title"] == title)


def unpacked(page: Page, packed) -> np.ndarray:
    content = base64.b64decode(page.blobs[packed["blob"]])
    return np.frombuffer(content, f"<{packed['dtype']}").reshape(packed["shape"])


def test_a_runs_curves_are_the_lines_of_its_log(runs):
    _, first, _ = runs
    lines = [json.loads(line) for line in (first / "metrics.jsonl").read_text().splitlines()]
    page = page_of([first], examples="none")
    charts = {chart["title"]: chart for chart in section(page, "Training")["charts"]}
    for title, name in (("training loss", "loss"), ("learning rate", "lr"), ("validation mse", "val/mse")):
        rows = [line for line in lines if name in line]
        (series,) = charts[title]["series"]
        np.testing.assert_array_equal(unpacked(page, series["x"]), [line["step"] for line in rows])
        np.testing.assert_array_equal(unpacked(page, series["y"]), [line[name] for line in rows])
        np.testing.assert_array_equal(unpacked(page, series["t"]), [line["seconds"] for line in rows])
    rows = [line for line in lines if "loss" in line]
    expected = [4 * (b["step"] - a["step"]) / (b["seconds"] - a["seconds"]) for a, b in itertools.pairwise(rows)]
    (series,) = charts["samples a second"]["series"]
    np.testing.assert_allclose(unpacked(page, series["y"]), expected)


def test_a_page_says_at_its_head_what_was_trained_on_what_by_which_commit(runs):
    _, first, _ = runs
    content = json.loads((first / "run.json").read_text())
    (session,) = content["sessions"]
    content["sessions"] = [session | {"git": {"commit": c * 40}} for c in "112"]
    (first / "run.json").write_text(json.dumps(content))
    page = page_of([first], examples="none")
    assert page.title == content["config"]["name"]
    assert page.subtitle.startswith(str(content["facts"].get("data") or content["facts"].get("digits")))
    assert page.subtitle.endswith("; trained by commit 11111111, 22222222")


def test_a_runs_scores_and_lead_times_are_those_of_its_eval(runs):
    _, first, _ = runs
    record = json.loads((first / "eval" / "eval.json").read_text())
    page = page_of([first], examples="none")
    table = section(page, "Scores, test set")
    rows = {row["cells"][0]: row["cells"][1:] for row in table["rows"]}
    assert list(rows) == ["model", "copy last"]
    for name, cells in rows.items():
        assert cells == list(record["scores"][name]["means"].values())
    lead = section(page, "By lead time")
    assert lead["at"] == [1, 2, 3, 4]
    by = record["scores"]["copy last"]["by"]["frame"]["mse"]
    assert lead["metrics"]["mse"]["copy last"] == [by[str(i)] for i in lead["at"]]


def test_a_run_in_progress_says_how_long_it_has_to_go(runs):
    _, first, _ = runs
    log = first / "metrics.jsonl"
    log.write_text("".join(f'{{"step": {i}, "seconds": {2.0 * i}, "loss": 1.0, "lr": 0.1}}\n' for i in range(1, 6)))
    content = json.loads((first / "run.json").read_text())
    (first / "run.json").write_text(json.dumps({**content, "state": {"step": 0}}))
    tiles = {name: (value, more) for name, value, more in page_of([first], examples="none").sections[0]["tiles"]}
    assert tiles["Updates"] == ("5 of 12", "14.0 s left at this pace")
    (first / "run.json").write_text(json.dumps({**content, "state": {"step": 0, "steps": 7}}))  # minutes came to that
    tiles = {name: (value, more) for name, value, more in page_of([first], examples="none").sections[0]["tiles"]}
    assert tiles["Updates"] == ("5 of 7", "4.0 s left at this pace")


def test_examples_are_kept_and_come_back_as_they_were(runs):
    _, first, second = runs
    made = kept.make_examples(first / "best.safetensors", first, "test")
    again = kept.examples_of(first)
    assert again.split == "test"
    for a, b in zip(made.examples, again.examples, strict=True):
        assert (a.name, a.title, a.key, a.spec) == (b.name, b.title, b.key, b.spec)
        for name in ("past", "prediction", "truth"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert kept.kept_examples(second) is None
    assert kept.examples_of(second).split == "val"  # never evaluated: made by the network, and kept
    assert (second / kept.FILE).exists()
    (first / "best.safetensors").write_bytes((second / "best.safetensors").read_bytes())
    assert kept.kept_examples(first) is None  # of other weights
    with pytest.raises(BadInput, match="of other weights"):
        kept.load_examples(first / "eval" / kept.FILE, first / "best.safetensors")


def test_a_damaged_file_of_examples_is_one_line(tmp_path):
    path = tmp_path / kept.FILE
    np.savez(path, about=np.frombuffer(b'{"examples": [{"kind": "nothing"}]}', np.uint8))
    with pytest.raises(BadInput, match="cannot be read"):
        kept.load_examples(path)


def test_examples_can_be_asked_for_by_their_keys(runs):
    _, first, second = runs
    worst = kept.examples_of(first).examples[2]
    (again,) = kept.make_examples(first / "best.safetensors", first, "test", [worst.key]).examples
    np.testing.assert_allclose(again.prediction, worst.prediction, atol=1e-5)
    np.testing.assert_array_equal(again.truth, worst.truth)
    with pytest.raises(BadInput, match="expected a number below 22"):
        kept.make_examples(second / "best.safetensors", second, "test", ["22"])


def test_runs_are_compared_by_validation_where_one_was_never_evaluated(runs):
    base, first, second = runs
    page = page_of([first.parent], data=base)
    table = section(page, "Results by mse")
    names = [c["name"] for c in table["columns"]]
    assert {row["group"] for row in table["rows"]} == {"A"}
    for row, folder in zip(table["rows"], sorted((first, second)), strict=True):
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        best = min(line["val/mse"] for line in lines if "val/mse" in line)
        assert row["cells"][names.index("mse")] == best
    better = min(table["rows"], key=lambda row: row["cells"][1])
    assert [1 in row["best"] for row in table["rows"]] == [row is better for row in table["rows"]]
    clips = section(page, "The same examples, protocol A")["examples"]
    assert len(clips) == 3
    roles = [row["role"] for row in clips[0]["channels"][0]["rows"]]
    assert roles == ["input", "truth", "prediction", "error", "prediction", "error"]


def test_other_protocols_get_other_letters_and_no_common_best(runs, tmp_path):
    _, first, _ = runs
    record = first / "eval" / "eval.json"
    content = json.loads(record.read_text())
    content["facts"]["test_set"] = "another one"
    content["scores"]["model"]["means"]["mse"] /= 2
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "other.json").write_text(json.dumps(content))
    results = [read_record(record), *find_results(tmp_path / "records")]
    assert group_by_protocol(results) == ["A", "B"]
    table = section(page := compare_page(results), "Results by mse")
    assert [row["best"] for row in table["rows"]] == [[], []]
    assert "compare within one" in table["warnings"][0]
    differs = section(page, "mse: in what A and B differ")["rows"]
    assert [row["cells"][0] for row in differs] == ["test_set"]


def test_pareto_fronts_stay_within_a_protocol(runs):
    _, first, _ = runs
    record = json.loads((first / "eval" / "eval.json").read_text())
    record["scores"]["model"]["means"]["mse"] += 1.0
    results = [read_run(first), dataclasses.replace(read_run(first), scores=Scores.from_dict(record["scores"]))]
    points = section(compare_page(results), "mse against cost")["axes"][0]["points"]
    assert [p["front"] for p in points] == [True, False]
    results[1].facts["test_set"] = "another one"
    points = section(compare_page(results), "mse against cost")["axes"][0]["points"]
    assert [p["front"] for p in points] == [True, True]


def test_what_is_no_run_is_one_line(tmp_path):
    for target, message in ((tmp_path / "none", "no such run"), (tmp_path, "holds no run and no record")):
        with pytest.raises(BadInput, match=message):
            page_of([target])
    path = tmp_path / "run.json"
    for content in ("{}", "[]", '{"config": 1}', "{"):
        path.write_text(content)
        with pytest.raises(BadInput, match=r"run\.json"):
            page_of([tmp_path])
    other = tmp_path / "x.json"
    other.write_text('{"scores": 3, "facts": {}, "split": ""}')
    with pytest.raises(BadInput, match="cannot be read as a record"):
        page_of([other])


def test_a_page_that_cannot_be_written_is_one_line_of_warning(runs, capsys):
    _, first, _ = runs
    (first / "report.html").mkdir()
    verb.attempt(lambda: write_run_page(first))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("moga-st: warning: no page was written")


def test_train_and_eval_name_their_pages_on_stderr_alone(runs, capsys):
    _, first, _ = runs
    verb.attempt(lambda: write_run_page(first))
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"page: {first / 'report.html'}\n"
    assert (first / "eval" / "eval.html").exists()


@pytest.mark.parametrize("flags", [["--max-mb", "0"], ["--watch", "--out", "x.html"]])
def test_the_verb_refuses_what_it_cannot_do(runs, flags):
    _, first, _ = runs
    with pytest.raises(BadInput):
        verb.run([str(first), *flags])
