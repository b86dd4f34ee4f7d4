"""Scores, facts and measurements as text for a terminal."""

from __future__ import annotations

from typing import Any

from moga_st.scores import Scores
from moga_st.storage import escape


def score_table(scores: Scores) -> str:
    """Model and baselines in rows, metrics in columns; then each breakdown of the first metric (lead time, action)."""
    names = list(scores.model.means)
    rows = [["", *names]]
    for label, row in scores.rows.items():
        rows.append([label, *(cell(row.means.get(n)) for n in names)])
    tables = [table(rows)]
    for kind, metrics in scores.model.by.items():
        if names[0] not in metrics:
            continue
        also = {label: row.by[kind][names[0]] for label, row in scores.rows.items() if kind in row.by}
        rows = [[kind, *also]]
        rows += [[part, *(cell(values.get(part)) for values in also.values())] for part in metrics[names[0]]]
        tables.append(f"{names[0]} by {escape(kind)}\n{table(rows)}")
    return "\n\n".join(tables)


def fact_lines(facts: dict[str, Any]) -> str:
    """What the numbers mean, a line each, without the standing conventions."""
    lines = []
    for key, value in facts.items():
        if isinstance(value, dict):
            lines += [escape(f"{k}: {v}") for k, v in value.items() if key != "conventions" and v not in (None, [], "")]
        else:
            lines.append(escape(f"{key}: {value}"))
    return "\n".join(lines)


def cell(value: Any) -> str:
    """A number with as many digits as mean something."""
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 1 else f"{value:,.2f}"
    return "" if value is None else str(value)


def table(rows: list[list[str]]) -> str:
    """Columns padded to their widest cell; the first is left, the others are right aligned."""
    rows = [[escape(c) for c in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
