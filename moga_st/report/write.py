"""From targets to a page: what the verb, `train` and `eval` call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from moga_st.errors import BadInput
from moga_st.report.examples import examples_of
from moga_st.report.page import MAX_MB, Page
from moga_st.report.pages import result_page
from moga_st.report.results import Result, find_results, read_run


def page_of(targets: Sequence[Path], max_mb: float = MAX_MB, examples: bool = True, data: Path | None = None) -> Page:
    """The page of one run or record, or of several beside each other.

    Args:
        targets: runs' folders, records, or folders of either.
        max_mb: what it may weigh.
        examples: show a run's examples; made by its network where none were kept.
        data: the data root.

    Raises:
        BadInput: a target is nothing of these.
    """
    results = [result for target in targets for result in find_results(target)]
    return one_page(results[0], max_mb, examples, data)


def one_page(result: Result, max_mb: float, examples: bool, data: Path | None) -> Page:
    """The page of one result with its examples, or with the reason why there are none."""
    if not examples or result.folder is None:
        return result_page(result, max_mb=max_mb)
    try:
        return result_page(result, examples_of(result.folder, data=data), max_mb)
    except (BadInput, OSError) as error:
        return result_page(result, max_mb=max_mb, missing=str(error))


def write_run_page(folder: Path, data: Path | None = None) -> Path:
    """Write the page of a run into its folder; returns its path."""
    return one_page(read_run(folder), MAX_MB, True, data).save(folder / "report.html")
