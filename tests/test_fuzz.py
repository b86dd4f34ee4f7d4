"""A few hundred damaged files a reader; ``make fuzz`` runs thousands, each with limits on time and memory."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz_edits import outcome, spoilt
from tests.fuzz_readers import READERS

EDITS = st.lists(st.tuples(st.integers(0, 6), st.floats(0, 1), st.integers(0, 10_000)), min_size=1, max_size=6)


SLOW = ("hdf5", "poses", "hickle", "prepared_clips", "video", "array_clip", "c3d")  # a process a file: make fuzz


@pytest.mark.parametrize("name", [n for n in READERS if n not in SLOW])
@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(choice=st.integers(0, 1000), edits=EDITS)
def test_every_file_is_read_or_refused(name, choice, edits, tmp_path_factory):
    content = spoilt(READERS[name], choice, edits)
    if content is not None:
        assert outcome(READERS[name], content, tmp_path_factory.getbasetemp()) in ("accepted", "refused")


@pytest.mark.parametrize("name", READERS)
def test_what_is_not_damaged_is_read(name, tmp_path):
    reader = READERS[name]
    for content in [*reader.valid(), *map(reader.write, reader.objects())]:
        if name in ("convert", "weights"):  # stand-ins with other keys, which are refused for that alone
            continue
        assert outcome(reader, content, tmp_path) == "accepted"
