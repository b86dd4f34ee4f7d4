"""A few hundred damaged files a reader; ``make fuzz`` runs thousands, each with limits on time and memory."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz_edits import outcome, spoilt
from tests.fuzz_readers import READERS


def numbers(bits: int) -> st.SearchStrategy[int]:
    """Numbers of so many bits.  Hypothesis puts constants of the modules that happen to be imported among its integers
    and floats, so that other files would be tried beside other tests; its booleans are the same everywhere."""
    return st.tuples(*[st.booleans()] * bits).map(lambda drawn: sum(bit << i for i, bit in enumerate(drawn)))


PLACES = numbers(16).map(lambda number: number / 2**16)
EDITS = st.lists(st.tuples(numbers(3), PLACES, numbers(13)), min_size=1, max_size=6)

SLOW = (  # a process or a network a file: make fuzz
    *("hdf5", "poses", "hickle", "prepared_clips", "video", "array_clip", "c3d"),
    *("convert_classifier", "convert_pose", "timm"),
)


@pytest.mark.parametrize("name", [n for n in READERS if n not in SLOW])
@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(choice=numbers(10), edits=EDITS)
def test_every_file_is_read_or_refused(name, choice, edits, tmp_path_factory):
    content = spoilt(READERS[name], choice, edits)
    if content is not None:
        assert outcome(READERS[name], content, tmp_path_factory.getbasetemp()) in ("accepted", "refused")


def test_the_files_are_the_same_whatever_is_imported(tmp_path, monkeypatch):
    def drawn(edits: st.SearchStrategy) -> list:
        found = []

        @settings(max_examples=100, derandomize=True, database=None)
        @given(edits)
        def keep(one: list) -> None:
            found.append(one)

        keep()
        return found

    own, theirs = drawn(EDITS), drawn(st.lists(st.integers(0, 10_000)))
    (tmp_path / "constants.py").write_text(f"X = {list(range(1000, 1200))}\nY = {[i / 7 for i in range(50)]}\n")
    monkeypatch.syspath_prepend(tmp_path)
    __import__("constants")
    assert drawn(EDITS) == own
    assert drawn(st.lists(st.integers(0, 10_000))) != theirs  # so that the module was seen


@pytest.mark.parametrize("name", READERS)
def test_what_is_not_damaged_is_read(name, tmp_path):
    reader = READERS[name]
    for content in [*reader.valid(), *map(reader.write, reader.objects())]:
        if name in ("convert", "weights"):  # stand-ins with other keys, which are refused for that alone
            continue
        assert outcome(reader, content, tmp_path) == "accepted"
