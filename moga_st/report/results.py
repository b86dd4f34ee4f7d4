"""What the report knows of a result, read from a run's folder or from a record that `eval` wrote."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moga_st import storage
from moga_st.engine.run import read_jsonl
from moga_st.errors import BadInput
from moga_st.scores import Scores


@dataclass(frozen=True, eq=False)
class Result:
    """A run, evaluated or not, or a record of one."""

    name: str
    source: Path
    """The run's folder, or the record."""
    config: dict[str, Any] = field(default_factory=dict)
    """The run's, as JSON."""
    model: dict[str, Any] = field(default_factory=dict)
    """The network's config as the data made it; in older results the run's."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Of the data and the protocol."""
    scores: Scores | None = None
    split: str = ""
    parameters: int | None = None
    seconds: float | None = None
    """Of training."""
    steps: int | None = None
    """Updates done."""
    best_step: int | None = None
    lines: list[dict[str, Any]] = field(default_factory=list)
    """Of metrics.jsonl."""
    sessions: list[dict[str, Any]] = field(default_factory=list)
    """Of training: provenance and command of each."""
    scored_by: dict[str, Any] = field(default_factory=dict)
    """Provenance of the scores."""
    command: str = ""
    """That made the scores."""
    state: dict[str, Any] = field(default_factory=dict)
    """Counters of the run's last checkpoint."""
    folder: Path | None = None
    """The run's, where the result is of one."""

    @property
    def planned(self) -> int | None:
        """Updates of the whole run: those that a budget in minutes came to, or the config's."""
        return self.state.get("steps") or self.config.get("steps")

    @property
    def recipe(self) -> str:
        return str(self.config.get("name", ""))

    @property
    def protocol(self) -> dict[str, str]:
        """What must be equal for two results' scores to be comparable: data, split, protocol, what metrics mean."""
        found = {"split": self.split}
        for name, value in self.facts.items():
            if name == "conventions":
                continue
            parts = value if isinstance(value, dict) else {name: value}
            found |= {k: spelled(v) for k, v in parts.items()}
        for free in ("selected_on", "frames", "classes"):  # what a model may choose without changing what is measured
            found.pop(free, None)
        if self.scores is not None:
            conventions = self.facts.get("conventions", {})
            found |= {f"{m} is": str(conventions[m]) for m in self.scores.model.means if m in conventions}
        return found


def find_results(target: Path) -> list[Result]:
    """The results at a place: a run's folder, a folder of runs, a record, a folder of records.

    Raises:
        BadInput: there are none.
    """
    if target.is_file():
        return [read_record(target)]
    if (target / "run.json").exists():
        return [read_run(target)]
    if target.exists() and not target.is_dir():
        raise BadInput(f"{target}: is a device, pipe or socket, expected an ordinary file or a folder")
    if not target.is_dir():
        raise BadInput(f"{target}: no such run, record or folder of them")
    found = [read_run(p.parent) for p in sorted([*target.glob("*/run.json"), *target.glob("*/*/run.json")])]
    for path in [] if found else sorted(target.glob("*.json")):
        if is_record(content := storage.read_json(path)):
            found.append(_record(path, content))
    if not found:
        raise BadInput(f"{target}: holds no run and no record; give a run's folder, an eval.json, or a folder of them")
    return found


def read_run(folder: Path) -> Result:
    """A run, with the scores of its last `eval` where there is one.

    Raises:
        BadInput: it is no run's folder, or cannot be read.
    """
    path = folder / "run.json"
    content = storage.read_json(path)
    with _of_its_kind(path, "is not a run's; give a folder that `train` made"):
        return _run(folder, content)


@contextmanager
def _of_its_kind(path: Path, what: str) -> Iterator[None]:
    """What goes wrong with a document's parts is said in one line."""
    try:
        yield
    except (AttributeError, KeyError, StopIteration, TypeError, ValueError, OverflowError) as error:
        raise BadInput(f"{path}: {what} ({type(error).__name__}: {error!s:.80})") from error


def _run(folder: Path, content: dict[str, Any]) -> Result:
    state, sessions = dict(content["state"]), list(content["sessions"])
    config, facts = dict(content["config"]), dict(content["facts"])
    lines = read_jsonl(folder / "metrics.jsonl")
    evaluated = folder / "eval" / "eval.json"
    record = read_record(evaluated) if evaluated.exists() else None
    return Result(
        name=str(config.get("name", folder.name)),
        source=folder,
        config=config,
        model=dict(content.get("model") or config.get("model") or {}),
        facts=facts,
        scores=None if record is None else record.scores,
        split="" if record is None else record.split,
        parameters=content.get("parameters"),
        seconds=lines[-1].get("seconds") if lines else state.get("seconds"),
        steps=max([int(state.get("step", 0)), *(int(line["step"]) for line in lines[-1:])]),
        best_step=state.get("best_step"),
        lines=lines,
        sessions=sessions,
        scored_by={} if record is None else record.scored_by,
        command="" if record is None else record.command,
        state=state,
        folder=folder,
    )


def is_record(content: Any) -> bool:
    """Whether a JSON document is a record of an evaluation."""
    return isinstance(content, dict) and {"scores", "facts", "split"} <= content.keys()


def read_record(path: Path) -> Result:
    """A record of `eval`.

    Raises:
        BadInput: it is none.
    """
    content = storage.read_json(path)
    if not is_record(content):
        raise BadInput(f"{path}: is no record of an evaluation; give an eval.json, or a run's folder")
    return _record(path, content)


def _record(path: Path, content: dict[str, Any]) -> Result:
    with _of_its_kind(path, "cannot be read as a record of an evaluation"):
        return _evaluated(path, content)


def _evaluated(path: Path, content: dict[str, Any]) -> Result:
    trained, scored_by = dict(content.get("trained") or {}), dict(content.get("made_by") or {})
    config, facts = dict(trained.get("run") or {}), dict(content["facts"])
    scores = Scores.from_dict(content["scores"])
    made_by = trained.get("made_by")
    return Result(
        name=path.stem if path.name != "eval.json" else str(config.get("name", content.get("weights", path.stem))),
        source=path,
        config=config,
        model=dict(content.get("model") or config.get("model") or {}),
        facts=facts,
        scores=scores,
        split=str(content["split"]),
        seconds=trained.get("seconds"),
        steps=trained.get("steps") or config.get("steps"),
        best_step=trained.get("best_step"),
        sessions=[made_by] if made_by else [],
        scored_by=scored_by,
        command=" ".join(map(str, content.get("argv", []))),
    )


def size_of(result: Result) -> tuple[int | None, int | None]:
    """Parameters, and multiply-adds of one example, counted from the config; None where it cannot be built here, as a
    recipe of another package may."""
    params, macs = _count(json.dumps(result.model, sort_keys=True))
    return result.parameters or params, macs


@functools.lru_cache(maxsize=256)
def _count(model: str) -> tuple[int | None, int | None]:
    from moga_st.bench import count
    from moga_st.config import ModelConfig

    try:
        return count(ModelConfig.from_dict(json.loads(model)))
    except Exception:  # whatever a class of another package raises: the number is left out
        return None, None


def spelled(value: Any) -> str:
    """A fact in words; of a config its fields, since its kind may have been renamed."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {spelled(v)}" for k, v in value.items() if k != "kind")
    if isinstance(value, (list, tuple)):
        return ", ".join(map(spelled, value)) or "none"
    return (
        {None: "none", True: "yes", False: "no"}.get(value, str(value))
        if not isinstance(value, float)
        else f"{value:g}"
    )


def plain(value: float | None) -> float | None:
    """A number for JSON; None for one that is not finite."""
    return value if value is not None and math.isfinite(value) else None
