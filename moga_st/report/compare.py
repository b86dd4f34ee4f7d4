"""The page of several runs or records: one table, curves over each other, the same examples, score against cost.

Scores are comparable only where data, split, protocol and the meaning of the metrics are the same: each such group has
a letter, and nothing is called best across letters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moga_st.draw.pose import LiftedClip
from moga_st.draw.video import PredictedClip
from moga_st.errors import BadInput
from moga_st.report.examples import Kept, examples_of, make_examples
from moga_st.report.media import add_same_clips, add_same_lifted
from moga_st.report.page import MAX_MB, Page
from moga_st.report.pages import label, training_charts
from moga_st.report.results import Result, plain, size_of
from moga_st.scores import Score, Scores
from moga_st.storage import is_full

HIGHER_IS_BETTER = ("psnr", "ssim", "pck", "auc", "top1", "top5", "csi", "pod", "fss", "acc")
"""How the names of metrics begin of which more is better; of all others less is."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def higher_is_better(metric: str) -> bool:
    return metric.startswith(HIGHER_IS_BETTER)


def compare_page(
    results: Sequence[Result],
    max_mb: float = MAX_MB,
    examples: bool = True,
    data: Path | None = None,
    title: str = "",
) -> Page:
    """The page of several results; where one was never evaluated, all runs are shown by their best validation.

    Args:
        examples: show what they made of the same examples, where they are runs of one task.
        data: the data root.
    """
    if any(result.scores is None for result in results):
        results = [validated(result) for result in results]
    names = list(dict.fromkeys(r.name for r in results))
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    page = Page(title or f"{len(results)} results", ", ".join(names[:6]) + more, max_mb)
    groups = group_by_protocol(results)
    families: dict[str, list[int]] = {}
    for i, result in enumerate(results):
        names = list(result.scores.model.means) if result.scores is not None else [""]
        families.setdefault(names[0], []).append(i)
    for headline, members in families.items():
        add_results(page, results, groups, members, headline)
        add_protocols(page, results, groups, members, headline)
    trained = [result for result in results if result.lines]
    if len(trained) > 1:
        page.add("curves", "Training", charts=training_charts(page, trained))
    for letter in dict.fromkeys(groups):
        add_lead_times(page, [r for r, g in zip(results, groups, strict=True) if g == letter], letter)
    if examples:
        add_same_examples(page, results, groups, data)
    for headline, members in families.items():
        if headline:
            add_pareto(page, results, groups, members, headline)
    return page


def validated(result: Result) -> Result:
    """The result with the scores of its best validation in place of others, if it has one: what runs can be compared
    by of which some were never evaluated."""
    validations = [line for line in result.lines if any(k.startswith("val/") for k in line)]
    if not validations:
        return result
    line = next((v for v in validations if v["step"] == result.best_step), validations[-1])
    means = {k.removeprefix("val/"): v for k, v in line.items() if k.startswith("val/") and v is not None}
    return dataclasses.replace(result, scores=Scores(Score(means)), split="val")


def group_by_protocol(results: Sequence[Result]) -> list[str]:
    """A letter for each result: the same where scores can be compared."""
    letters: dict[tuple[tuple[str, str], ...], str] = {}
    keys = [tuple(sorted(result.protocol.items())) for result in results]
    heads = [next(iter(_means(result)), "") for result in results]
    for i in sorted(range(len(results)), key=lambda i: heads.index(heads[i])):  # those of a table follow each other
        n = len(letters)
        letters.setdefault(keys[i], LETTERS[n] if n < len(LETTERS) else str(n + 1))
    return [letters[key] for key in keys]


def add_results(
    page: Page, results: Sequence[Result], groups: Sequence[str], members: list[int], headline: str
) -> None:
    """The table of results that share their first metric."""
    metrics = list(dict.fromkeys(m for i in members for m in _means(results[i])))
    columns = [{"name": "result"}, *({"name": m} for m in metrics)]
    columns += [{"name": n} for n in ("parameters, M", "multiply-adds, G", "training, s", "updates")]
    columns += [{"name": n, "words": True} for n in ("split", "trained on", "commit")]
    best = {
        (m, g): _best(m, [_means(results[i]).get(m) for i in members if groups[i] == g])
        for m in metrics
        for g in set(groups)
    }
    conventions: dict[str, str] = {}
    rows = []
    for i in members:
        result, means = results[i], _means(results[i])
        params, macs = size_of(result)
        session = result.sessions[-1] if result.sessions else {}
        cells = [label(results, i), *(means.get(m) for m in metrics)]
        cells += [None if params is None else params / 1e6, None if macs is None else macs / 1e9]
        cells += [result.seconds, result.best_step or result.steps, result.split]
        cells += [(session.get("hardware") or {}).get("cpu", ""), ((session.get("git") or {}).get("commit") or "")[:8]]
        marks = [c for c, m in enumerate(metrics, 1) if m in means and means[m] == best[m, groups[i]]]
        rows.append({"cells": cells, "group": groups[i], "best": marks})
        conventions |= {k: v for k, v in result.facts.get("conventions", {}).items() if k in metrics}
    letters = sorted({groups[i] for i in members})
    warnings = []
    if len(letters) > 1:
        warnings = [f"Rows of different letters ({', '.join(letters)}) measure different things: compare within one."]
    page.add(
        "table",
        f"Results by {headline}" if headline else "Results without scores",
        columns=columns,
        rows=rows,
        warnings=warnings,
        conventions=[list(c) for c in conventions.items()],
    )


def _means(result: Result) -> dict[str, float | None]:
    return {} if result.scores is None else {k: plain(v) for k, v in result.scores.model.means.items()}


def _best(metric: str, values: Sequence[float | None]) -> float | None:
    """The best of several; None where there is nothing to be better than."""
    known = [v for v in values if v is not None]
    if len(known) < 2:
        return None
    return max(known) if higher_is_better(metric) else min(known)


def add_protocols(
    page: Page, results: Sequence[Result], groups: Sequence[str], members: list[int], headline: str
) -> None:
    """What the letters of one table stand for, and in what they differ."""
    letters = sorted({groups[i] for i in members})
    protocols = {letter: results[groups.index(letter)].protocol for letter in letters}
    names = list(dict.fromkeys(name for protocol in protocols.values() for name in protocol))
    differing = [n for n in names if len({p.get(n) for p in protocols.values()}) > 1]
    shown = [{"title": "", "rows": [[n, protocols[letters[0]].get(n, "")] for n in names if n not in differing]}]
    if len(letters) > 1:
        columns = [{"name": "differs"}, *({"name": letter, "words": True} for letter in letters)]
        rows = [{"cells": [n, *(p.get(n) for p in protocols.values())]} for n in differing]
        title = f"{headline}: in what {', '.join(letters[:-1])} and {letters[-1]} differ"
        page.add("table", title, columns=columns, rows=rows)
    if shown[0]["rows"]:
        title = f"{headline}: the protocol" if len(letters) == 1 else f"{headline}: what all share"
        page.add("facts", title, groups=shown)


def add_lead_times(page: Page, results: Sequence[Result], letter: str) -> None:
    """Metrics over lead time, a curve a result, and the first one's baselines."""
    known = [r for r in results if r.scores is not None and "frame" in r.scores.model.by]
    if len(known) < 2:
        return
    first = known[0].scores
    assert first is not None
    metrics: dict[str, dict[str, list[float | None]]] = {}
    at = sorted(int(p) for p in next(iter(first.model.by["frame"].values())))
    for metric in first.model.by["frame"]:
        rows = {label(known, i): r.scores.model for i, r in enumerate(known) if r.scores is not None}
        rows |= dict(first.baselines)
        metrics[metric] = {
            name: [plain(row.by["frame"][metric].get(str(n))) for n in at]
            for name, row in rows.items()
            if metric in row.by.get("frame", {})
        }
    meanings = [list(c) for c in known[0].facts.get("conventions", {}).items() if c[0] in metrics]
    about = {"conventions": meanings, "equal": True}
    page.add("lead", f"By lead time, protocol {letter}", x="frames ahead", at=at, metrics=metrics, **about)


def add_same_examples(page: Page, results: Sequence[Result], groups: Sequence[str], data: Path | None) -> None:
    """What runs of one protocol made of the first one's examples."""
    for letter in dict.fromkeys(groups):
        runs = [i for i, r in enumerate(results) if groups[i] == letter and r.folder is not None]
        if len(runs) < 2:
            continue
        title = f"The same examples, protocol {letter}"
        try:
            kept = {label(results, i): k for i, k in zip(runs, _same([results[i] for i in runs], data), strict=True)}
        except (BadInput, OSError) as error:
            if is_full(error):
                raise
            page.add("facts", title, groups=[{"title": "", "rows": [["Not shown", str(error)]]}])
            continue
        text = f"The best, the median and the worst of {next(iter(kept))}, and what the others make of them."
        examples = [dict(zip(kept, row, strict=True)) for row in zip(*(k.examples for k in kept.values()), strict=True)]
        clips = [e for e in examples if all(isinstance(v, PredictedClip) for v in e.values())]
        lifted = [e for e in examples if all(isinstance(v, LiftedClip) for v in e.values())]
        if clips:
            add_same_clips(page, title, clips, text)
        if lifted:
            add_same_lifted(page, title, lifted, text)


def _same(results: Sequence[Result], data: Path | None) -> list[Kept]:
    """The first run's examples, and the others' of the same keys."""
    folders = [r.folder for r in results if r.folder is not None]
    first = examples_of(folders[0], data)
    keys = [e.key for e in first.examples]
    if not all(keys):
        raise BadInput(f"{folders[0]}: its examples do not say which ones they are")
    return [first, *(make_examples(f / "best.safetensors", data, first.split, keys) for f in folders[1:])]


def add_pareto(page: Page, results: Sequence[Result], groups: Sequence[str], members: list[int], headline: str) -> None:
    """The first metric against parameters, multiply-adds and seconds of training."""
    costs = {
        "parameters, M": lambda r: None if (n := size_of(r)[0]) is None else n / 1e6,
        "multiply-adds of an example, G": lambda r: None if (n := size_of(r)[1]) is None else n / 1e9,
        "seconds of training": lambda r: r.seconds,
    }
    axes = []
    for name, cost in costs.items():
        points = []
        for i in members:
            x, y = cost(results[i]), _means(results[i]).get(headline)
            if x and y is not None:
                points.append({"name": label(results, i), "group": groups[i], "x": x, "y": y})
        for point in points:
            point["front"] = not any(_beats(other, point, headline) for other in points)
        letters = list(dict.fromkeys(p["group"] for p in points))
        if len(points) > 1:
            axes.append({"name": name, "points": points, "groups": letters})
    if axes:
        text = "Joined by a dashed line: those of a protocol that no other one beats in both."
        page.add("scatter", f"{headline} against cost", text=text, y=headline, axes=axes)


def _beats(a: dict[str, Any], b: dict[str, Any], metric: str) -> bool:
    """Whether ``a`` is as cheap and as good as ``b``, and better in one of the two, under the same protocol."""
    if a["group"] != b["group"]:
        return False
    sign = -1 if higher_is_better(metric) else 1
    cost, score = a["x"] - b["x"], sign * (a["y"] - b["y"])
    return cost <= 0 and score <= 0 and (cost < 0 or score < 0)
