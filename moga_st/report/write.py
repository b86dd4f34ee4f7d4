"""From targets to a page: what the verb, `train` and `eval` call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from moga_st.errors import BadInput
from moga_st.report.compare import compare_page
from moga_st.report.examples import examples_of, kept_examples
from moga_st.report.page import MAX_MB, Page
from moga_st.report.pages import result_page
from moga_st.report.results import Result, find_results, read_run
from moga_st.storage import is_full

Examples = Literal["made", "kept", "none"]


def page_of(
    targets: Sequence[Path], max_mb: float = MAX_MB, examples: Examples = "made", data: Path | None = None
) -> Page:
    """The page of one run or record, or of several beside each other.

    Args:
        targets: runs' folders, records, or folders of either.
        max_mb: what it may weigh.
        examples: whether to show runs' examples: "made" by the network where none were kept, "kept" ones alone, or
            "none".
        data: the data root.

    Raises:
        BadInput: a target is nothing of these.
    """
    results = [result for target in targets for result in find_results(target)]
    if len(results) == 1:
        return one_page(results[0], max_mb, examples, data)
    return compare_page(results, max_mb, examples == "made", data)


def one_page(result: Result, max_mb: float, examples: Examples, data: Path | None) -> Page:
    """The page of one result with its examples, or with the reason why there are none."""
    if examples == "none" or result.folder is None:
        return result_page(result, max_mb=max_mb)
    if examples == "kept":
        missing = "they come with the first validation; then the network makes them"
        return result_page(result, kept_examples(result.folder), max_mb, missing)
    try:
        return result_page(result, examples_of(result.folder, data), max_mb)
    except (BadInput, OSError) as error:
        if is_full(error):
            raise
        return result_page(result, max_mb=max_mb, missing=str(error))


def write_run_page(folder: Path, data: Path | None = None) -> Path:
    """Write the page of a run into its folder; returns its path."""
    return one_page(read_run(folder), MAX_MB, "made", data).save(folder / "report.html")
