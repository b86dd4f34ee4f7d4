"""`python -m moga_st.report.site RECORDS OUT`: the results pages of a folder of records, made of these alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from moga_st import storage
from moga_st.errors import BadInput
from moga_st.report.compare import compare_page
from moga_st.report.page import Page
from moga_st.report.pages import add_provenance, result_page
from moga_st.report.results import Result, is_record, read_record


def build(records: Path, out: Path) -> list[Path]:
    """Write index.html, in which all records of scores stand beside each other, and a page a record; returns them.

    Raises:
        BadInput: there are no records.
    """
    files = sorted(records.glob("*.json"))
    contents = {path: storage.read_json(path) for path in files}
    results = [read_record(path) for path, content in contents.items() if is_record(content)]
    if not results:
        raise BadInput(f"{records}: holds no records of scores; give the folder experiments/records")
    storage.make_folder(out)
    index = compare_page(results, title="Results")
    index.subtitle = "Everything that was measured, from the records alone"
    benches = {path.stem: content for path, content in contents.items() if "rows" in content}
    for name, content in benches.items():
        add_rows(index, name, content)
    links = [[path.stem, f"{path.stem}.html"] for path in files if is_record(contents[path])]
    index.add("links", "A page a record", links=links)
    pages = [index.save(out / "index.html")]
    return [*pages, *(result_page(result).save(out / f"{result.name}.html") for result in results)]


def add_rows(page: Page, name: str, content: dict[str, Any]) -> None:
    """A table of measurements that are no scores: `bench`'s, an ablation's."""
    rows = [{k: v for k, v in row.items() if not isinstance(v, dict)} for row in content["rows"]]
    names = list(dict.fromkeys(k for row in rows for k in row))
    columns = [{"name": n, "words": any(isinstance(row.get(n), str) for row in rows)} for n in names]
    table = [{"cells": [row.get(n) for n in names]} for row in rows]
    page.add("table", name, columns=columns, rows=table)
    if "made_by" in content:
        command = " ".join(map(str, content.get("argv", [])))
        add_provenance(page, Result(name, Path(name), scored_by=content["made_by"], command=command), f"{name}: origin")


def main(argv: list[str]) -> int:
    """Build; returns the exit code."""
    try:
        records, out = map(Path, argv)
        for path in build(records, out):
            print(storage.escape(path))
    except (BadInput, ValueError) as error:
        message = error if isinstance(error, BadInput) else "expected RECORDS OUT: a folder of records, one to write to"
        print(storage.escape(f"moga_st.report.site: {message}"), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
