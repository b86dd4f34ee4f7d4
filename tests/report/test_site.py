"""The results pages come from the records alone, and README's tables say what the records say."""

import json
import re
from decimal import Decimal
from pathlib import Path

import pytest

from moga_st.errors import BadInput
from moga_st.report import site
from moga_st.report.results import read_record, size_of

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "experiments" / "records"
COLUMNS = {
    "MSE": "mse",
    "MAE": "mae",
    "SSIM": "ssim",
    "SSIM, published convention": "ssim_published",
    "PSNR": "psnr",
    "top-1": "top1",
    "top-5": "top5",
}
"""Of README's tables, to the metrics of records."""
PAIR = ("mpjpe", "p_mpjpe")
"""What a cell "1.0 / 2.0" gives."""


def tables(text: str) -> list[list[list[str]]]:
    """The tables of a Markdown text: rows of cells, without the rulers."""
    found: list[list[list[str]]] = []
    before = False
    for line in text.splitlines():
        inside = line.startswith("|")
        if inside:
            if not before:
                found.append([])
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
                found[-1].append(cells)
        before = inside
    return found


def agrees(text: str, value: float) -> bool:
    """Whether a figure is the value, rounded to the places that are written out."""
    figure = Decimal(text.replace(",", ""))
    return abs(Decimal(repr(value)) - figure) <= Decimal(1).scaleb(int(figure.as_tuple().exponent)) / 2


def figures(text: str):
    """The figures of README's tables of results: place, figure as written, and the value in the record that its row
    names; a baseline's row belongs to the record before it."""
    for table in tables(text):
        head, records = table[0], []
        for row in table[1:]:
            named = re.findall(r"\[(\w+)\]\(experiments/records/(\w+)\.json\)", row[1]) if len(row) > 1 else []
            baseline = not named and bool(records) and "published" not in row[1]
            records = named or records
            if not records or ("published" in row[1] and not named):
                continue
            for column, cell in zip(head[2:], row[2:], strict=True):
                metrics = (
                    PAIR if re.fullmatch(r"[\d.]+ / [\d.]+", cell) else [COLUMNS[c] for c in (column,) if c in COLUMNS]
                )
                if not re.match(r"[\d.,]+", cell) or not metrics:
                    continue
                names = dict(records)
                record = names.get(column.split()[0], records[0][1])
                scores = read_record(RECORDS / f"{record}.json").scores
                assert scores is not None
                if baseline:
                    label = next(name for name in scores.baselines if name.split()[0] in row[0])
                    score = scores.baselines[label]
                else:
                    score = scores.model
                for metric, figure in zip(metrics, cell.split(" / "), strict=True):
                    yield f"{row[0]} ({record}), {column}", figure, score.means[metric]


def costs(text: str):
    """The figures of README's tables that say what a result cost: place, figure as written, and the record's own."""
    for table in tables(text):
        for row in table[1:]:
            names = re.findall(r"\]\(experiments/records/(\w+)\.json\)", " ".join(row))
            for name in names:
                result = read_record(RECORDS / f"{name}.json")
                parameters, _ = size_of(result)
                config = result.config
                known = {
                    r"([\d.]+) M\b": None if parameters is None else parameters / 1e6,
                    r"([\d,]+) updates": result.steps,
                    r"([\d,]+) sequences": (result.steps or 0) * config["batch_size"],
                    r"(\d+) h \d+ min": None if result.seconds is None else result.seconds // 3600,
                    r"\d+ h (\d+) min": None if result.seconds is None else round(result.seconds % 3600 / 60),
                }
                for pattern, value in known.items():
                    if value is None:
                        continue
                    for figure in re.findall(pattern, f"{row[0]} | {row[2]}"):
                        yield f"{row[0]} ({name}): {pattern}", figure, value


def test_readmes_figures_are_those_of_the_records():
    found = list(figures((ROOT / "README.md").read_text(encoding="utf-8")))
    assert len(found) > 40
    wrong = [
        f"{place}: {figure}, the record has {value}" for place, figure, value in found if not agrees(figure, value)
    ]
    assert wrong == []


def test_what_readme_says_of_costs_is_in_the_records():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = list(costs(text))
    assert len(found) >= 12
    assert [f for f in found if not agrees(f[1], f[2])] == []
    changed = text.replace("6,500 updates", "6,502 updates").replace("1.45 M", "1.54 M")
    assert len([f for f in costs(changed) if not agrees(f[1], f[2])]) == 2


def test_the_comparison_finds_a_wrong_figure():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    changed = text.replace("| 39.3 |", "| 39.4 |")
    assert changed != text
    assert [place for place, figure, value in figures(changed) if not agrees(figure, value)] != []
    assert agrees("57.3", 57.3499)
    assert not agrees("57.3", 57.351)
    assert agrees("1,750", 1750.4)


def test_every_record_has_its_page_with_its_scores(tmp_path):
    pages = site.build(RECORDS, tmp_path / "site")
    names = {path.stem for path in pages}
    # of an exported classifier "scores" says what it gives
    scored = [path for path in RECORDS.glob("*.json") if isinstance(json.loads(path.read_text()).get("scores"), dict)]
    assert names == {"index", *(path.stem for path in scored)}
    for path in scored:
        html = (tmp_path / "site" / f"{path.stem}.html").read_text(encoding="utf-8")
        data = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
        assert data is not None
        sections = json.loads(data[1])["sections"]
        table = next(s for s in sections if s["title"].startswith("Scores"))
        means = read_record(path).scores.model.means  # pyright: ignore[reportOptionalMemberAccess]
        assert table["rows"][0]["cells"][1:] == list(means.values())


def test_a_folder_without_records_is_one_line(tmp_path, capsys):
    with pytest.raises(BadInput, match="no records"):
        site.build(tmp_path, tmp_path / "site")
    assert site.main([str(tmp_path)]) == 2
    assert site.main([str(tmp_path), str(tmp_path / "site")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
