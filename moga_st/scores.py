"""What an evaluation gives: the scores of a model and of the baselines beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Breakdown = Mapping[str, Mapping[str, float]]  # metric -> part -> value


@dataclass(frozen=True)
class Score:
    """One predictor's means, and what they are made of."""

    means: Mapping[str, float]
    """By metric, in the order in which they are shown."""
    by: Mapping[str, Breakdown] = field(default_factory=dict)
    """By what (lead time, action, joint, class), metric and part."""

    def __getitem__(self, metric: str) -> float:
        """The mean."""
        return self.means[metric]


@dataclass(frozen=True)
class Scores:
    """A model and its baselines, scored on the same examples."""

    model: Score
    baselines: Mapping[str, Score] = field(default_factory=dict)
    """By name, such as "copy last"."""

    def __getitem__(self, metric: str) -> float:
        """The model's mean."""
        return self.model.means[metric]

    @property
    def rows(self) -> dict[str, Score]:
        """The model under the name "model", then the baselines."""
        return {"model": self.model, **self.baselines}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; a value that is not finite is null."""
        return {name: {"means": _finite(s.means), "by": _finite(s.by)} for name, s in self.rows.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Scores:
        """What :meth:`to_dict` gave, or the names with slashes that records had before: ``copy_last/mse/frame/1``."""
        if "model" not in data:
            data = _from_slashes(data)
        rows = {name: Score(_numbers(s["means"]), _numbers(s["by"])) for name, s in data.items()}
        return cls(rows.pop("model"), rows)


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        k: _finite(v) if isinstance(v, Mapping) else v if v is not None and math.isfinite(v) else None
        for k, v in values.items()
    }


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _numbers(v) if isinstance(v, Mapping) else math.nan if v is None else v for k, v in values.items()}


def _from_slashes(data: Mapping[str, float | None]) -> dict[str, Any]:
    metrics = [name for name in data if "/" not in name]
    rows: dict[str, Any] = {}
    for name, value in data.items():
        parts = name.split("/")
        at = next(i for i, part in enumerate(parts) if part in metrics)
        row = rows.setdefault(" ".join(parts[:at]).replace("_", " ") or "model", {"means": {}, "by": {}})
        if len(parts) == at + 1:
            row["means"][parts[at]] = value
        else:
            row["by"].setdefault(parts[at + 1], {}).setdefault(parts[at], {})["/".join(parts[at + 2 :])] = value
    return rows
