"""The pages of a run and of a record: what was trained on what, how it went, what it does, where it comes from."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

from moga_st.data.pose.skeleton import BONES, JOINTS
from moga_st.report.examples import Kept
from moga_st.report.media import add_examples
from moga_st.report.page import MAX_MB, Page
from moga_st.report.results import Result, plain, size_of, spelled
from moga_st.scores import Score, Scores

RATE_LINES = 20
"""Lines of the log that the speed of now is a mean over."""


def result_page(result: Result, examples: Kept | None = None, max_mb: float = MAX_MB, missing: str = "") -> Page:
    """The page of one run or record.

    Args:
        examples: what the task gave.
        missing: why there are none, if somebody may expect some.
    """
    data = result.facts.get("data") or result.facts.get("digits") or result.facts.get("images") or ""
    page = Page(result.name, "; ".join(filter(None, [str(data), _commits(result)])), max_mb)
    add_summary(page, result)
    if result.lines:
        page.add("curves", "Training", charts=training_charts(page, [result]))
    if examples is not None:
        split = {"val": "validation"}.get(examples.split, examples.split)
        text = f"The best, the median and the worst of those looked at in the {split} set."
        add_examples(page, examples.examples, "Examples", text)
    elif missing:
        page.add("facts", "Examples", groups=[{"title": "", "rows": [["Not shown", missing]]}])
    if result.scores is not None:
        add_scores(page, result.scores, result.facts, result.split)
    add_provenance(page, result)
    return page


def _commits(result: Result) -> str:
    """Which commits it was trained by, shortly."""
    known = [session["git"]["commit"][:8] for session in result.sessions if (session.get("git") or {}).get("commit")]
    return f"trained by commit {', '.join(dict.fromkeys(known))}" if known else ""


def add_summary(page: Page, result: Result) -> None:
    """The figures that one looks for first."""
    params, macs = size_of(result)
    tiles: list[list[Any]] = [["Recipe", result.recipe or "unknown", f"{result.config.get('batch_size', '?')} a batch"]]
    total = result.planned
    if result.lines and total:
        tiles.append(["Updates", f"{result.steps:,} of {total:,}", _time_left(result)])
    elif result.steps:
        tiles.append(["Updates", result.steps, "" if result.best_step is None else f"best at {result.best_step:,}"])
    best = result.state.get("best")
    if best is not None:
        tiles.append(["Best validation", best, f"{_monitor(result)}, after update {result.best_step:,}"])
    if result.scores is not None:
        for metric, value in list(result.scores.model.means.items())[:2]:
            tiles.append([f"{metric.upper()}, {result.split}", plain(value), ""])
    tiles.append(["Parameters", "unknown" if params is None else f"{params / 1e6:.3f} M", _macs(macs)])
    if result.seconds is not None:
        tiles.append(["Time of training", _duration(result.seconds), _rate(result)])
    page.add("tiles", "", tiles=tiles, warnings=_warnings(result))


def _monitor(result: Result) -> str:
    names = [k for line in result.lines for k in line if k.startswith("val/")]
    return names[0].removeprefix("val/").upper() if names else "score"


def _macs(macs: int | None) -> str:
    return "" if macs is None else f"{macs / 1e9:.2f} G multiply-adds an example"


def _recent(result: Result) -> tuple[int, float] | None:
    """Updates and seconds between some of the last lines of one session; None where there are too few."""
    lines = [line for line in result.lines if "loss" in line][-RATE_LINES:]
    if len(lines) < 2 or lines[-1]["seconds"] <= lines[0]["seconds"]:
        return None
    return lines[-1]["step"] - lines[0]["step"], lines[-1]["seconds"] - lines[0]["seconds"]


def _rate(result: Result) -> str:
    recent, size = _recent(result), result.config.get("batch_size")
    if recent is None or not size:
        return ""
    return f"{recent[0] * size / recent[1]:,.3g} samples/s, validation included"


def _time_left(result: Result) -> str:
    left = (result.planned or 0) - (result.steps or 0)
    if left <= 0:
        return "finished"
    recent = _recent(result)
    return "" if recent is None or not recent[0] else f"{_duration(left * recent[1] / recent[0])} left at this pace"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, s = divmod(round(seconds), 60)
    return f"{minutes} min {s} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _warnings(result: Result) -> list[str]:
    found = []
    states = [session.get("git") for session in result.sessions]
    if any(git and (git.get("diff") or git.get("clean") is False) for git in states):
        found.append("Trained from a checkout with changes that were not committed; run.json or the weights say so.")
    commits = {git["commit"] for git in states if git and "commit" in git}
    if len(commits) > 1:
        found.append(f"Trained in several sessions by {len(commits)} different commits.")
    return found


def training_charts(page: Page, results: Sequence[Result]) -> list[dict[str, Any]]:
    """Loss, learning rate, throughput and each validation metric over updates: a chart each, a curve a result."""
    names: dict[str, None] = {}
    for result in results:
        for line in result.lines:
            names |= dict.fromkeys(k for k in line if k not in ("step", "seconds"))
    ordered = sorted(names, key=lambda n: (not n.startswith("val/"), n)) if len(results) > 1 else list(names)
    charts = []
    for name in ["loss", *(n for n in ordered if n.startswith("val/")), "lr"]:
        if name not in names:
            continue
        series = []
        for i, result in enumerate(results):
            rows = [line for line in result.lines if name in line]
            series += _series(page, label(results, i), i, rows, [line[name] for line in rows])
        title = {"loss": "training loss", "lr": "learning rate"}.get(name, name.replace("val/", "validation "))
        charts.append({"title": title, "x": "update", "series": series})
    speeds = []
    for i, result in enumerate(results):
        rows = [line for line in result.lines if "loss" in line and line["seconds"] is not None]
        size = result.config.get("batch_size", 1)
        pairs = [(a, b) for a, b in itertools.pairwise(rows) if b["seconds"] > a["seconds"]]
        rate = [size * (b["step"] - a["step"]) / (b["seconds"] - a["seconds"]) for a, b in pairs]
        speeds += _series(page, label(results, i), i, [b for _, b in pairs], rate)
    if speeds:
        charts.append({"title": "samples a second", "x": "update", "series": speeds})
    return charts


def label(results: Sequence[Result], i: int) -> str:
    """A result's name among others: with its folder where names repeat."""
    mine = results[i]
    same = [r for r in results if r.name == mine.name]
    if len(same) < 2:
        return mine.name
    return f"{mine.name} {mine.source.name if mine.source.is_dir() else mine.source.parent.name}"


def _series(page: Page, name: str, colour: int, rows: list[dict[str, Any]], values: list[Any]) -> list[dict[str, Any]]:
    if not rows:
        return []
    y = [float("nan") if v is None else v for v in values]
    x, t = ([row[key] for row in rows] for key in ("step", "seconds"))
    times = None if any(v is None for v in t) else page.array(t, "f8")
    return [{"name": name, "colour": colour, "x": page.array(x, "f8"), "y": page.array(y, "f8"), "t": times}]


def add_scores(page: Page, scores: Scores, facts: dict[str, Any], split: str) -> None:
    """Means beside the baselines', and each breakdown in the form that fits it."""
    metrics = list(scores.model.means)
    rows = [
        {"cells": [name, *(plain(row.means.get(m)) for m in metrics)], "kind": "model" if name == "model" else None}
        for name, row in scores.rows.items()
    ]
    conventions = [[m, text] for m, text in facts.get("conventions", {}).items() if m in metrics]
    columns = [{"name": "predictor"}, *({"name": m} for m in metrics)]
    page.add("table", f"Scores, {split} set", columns=columns, rows=rows, conventions=conventions)
    for kind, by in scores.model.by.items():
        _add_breakdown(page, kind, list(by), scores, conventions)


def _add_breakdown(page: Page, kind: str, metrics: list[str], scores: Scores, conventions: list[list[str]]) -> None:
    rows = {name: row for name, row in scores.rows.items() if kind in row.by}
    values = {m: {name: _parts(row, kind, m) for name, row in rows.items() if m in row.by[kind]} for m in metrics}
    about = {"conventions": [c for c in conventions if c[0] in metrics]}
    parts = list(dict.fromkeys(p for of in values.values() for one in of.values() for p in one))
    if kind == "joint" and set(parts) <= set(JOINTS):
        skeleton = {"joints": list(JOINTS), "bones": [list(b) for b in BONES]}
        page.add("body", "By joint", metrics=values, **skeleton, **about)
    elif all(p.isdigit() for p in parts):
        at = sorted(map(int, parts))
        lists = {m: {n: [one.get(str(i)) for i in at] for n, one in of.items()} for m, of in values.items()}
        title = f"By {'lead time' if kind == 'frame' else kind}"
        page.add("lead", title, x="frames ahead", at=at, metrics=lists, **about)
    else:
        first = metrics[0]
        columns = [{"name": kind}, *({"name": m, "bar": m == first} for m in metrics)]
        others = [name for name in rows if name != "model"]
        columns += [{"name": f"{first}, {name}"} for name in others]
        table = []
        for part in parts:
            own = [values[m].get("model", {}).get(part) for m in metrics]
            table.append({"cells": [part, *own, *(values[first].get(name, {}).get(part) for name in others)]})
        page.add("table", f"By {kind}", columns=columns, rows=table, **about)


def _parts(row: Score, kind: str, metric: str) -> dict[str, float | None]:
    return {part: plain(value) for part, value in row.by[kind][metric].items()}


def add_provenance(page: Page, result: Result, title: str = "Where it comes from") -> None:
    """Data, protocol, commits, hardware, commands and the whole config."""
    groups: list[dict[str, Any]] = [{"title": "", "rows": _flat(result.facts, skip=("conventions",))}]
    for i, session in enumerate(result.sessions):
        rows = _made_by(session)
        if "argv" in session:
            rows.insert(0, ["command", _command(session["argv"])])
            rows.insert(1, ["from update", session.get("from_step", 0)])
        name = f"Trained, session {i + 1}" if len(result.sessions) > 1 else "Trained"
        groups.append({"title": name, "rows": rows, "open": i == 0})
    if result.scored_by:
        groups.append({"title": "Scored", "rows": [["command", result.command], *_made_by(result.scored_by)]})
    config = {"title": "The whole config", "text": json.dumps(result.config, indent=2)} if result.config else None
    page.add("facts", title, groups=[group for group in groups if group["rows"]], json=config)


def _command(argv: Sequence[Any]) -> str:
    """What was typed, without the path of the program."""
    return " ".join(["moga-st", *map(str, argv[1:])])


def _made_by(made_by: dict[str, Any]) -> list[list[Any]]:
    git = made_by.get("git") or {}
    changed = bool(git.get("diff")) or git.get("clean") is False
    commit = (
        f"{git['commit']}{', with changes that were not committed' if changed else ''}" if git else "not a checkout"
    )
    hardware, versions = made_by.get("hardware") or {}, made_by.get("versions") or {}
    return [
        ["time", made_by.get("time", "")],
        ["commit", commit],
        ["hardware", ", ".join(f"{k} {v}" for k, v in hardware.items() if v is not None)],
        ["versions", ", ".join(f"{k} {v}" for k, v in versions.items())],
    ]


def _flat(facts: dict[str, Any], skip: Sequence[str] = ()) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for name, value in facts.items():
        if name in skip or value in (None, "", [], {}):
            continue
        if isinstance(value, dict) and "kind" not in value:
            rows += [[f"{name}: {k}".replace("_", " "), v] for k, v in _flat(value)]
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else value
            text = json.dumps(text) if isinstance(text, dict) else spelled(text) if isinstance(text, bool) else text
            rows.append([name.replace("_", " "), str(text) if not isinstance(text, (int, float)) else text])
    return rows
