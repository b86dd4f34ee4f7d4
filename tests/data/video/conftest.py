"""What holds of every converter: it says how much it will write before it writes."""

import re

import pytest

from moga_st.cli.data import VIDEO
from moga_st.data.video import prepared_clips


@pytest.fixture(autouse=True)
def _space_is_said(request, monkeypatch):
    """In the tests of a published data set, a file that was written was announced, with no fewer frames."""
    name, lines = request.module.__name__.rpartition("test_")[2], []
    finish = prepared_clips.PreparedClipsWriter.finish

    def checked(self, source, standardise):
        finish(self, source, standardise)
        written = sum(part.first[-1] for part in self._parts.values())
        assert lines, "nothing said how large the file would be"
        announced = int(re.findall(r": ([\d,]+) frames of", lines[-1])[0].replace(",", ""))
        # exact counts would cost decoding: Caltech's are of its headers, BAIR's clips taken to be as long as the first
        assert announced >= written or name in ("kitticaltech", "bair")

    if name in VIDEO:
        monkeypatch.setattr(prepared_clips, "_to_stderr", lines.append)
        monkeypatch.setattr(prepared_clips.PreparedClipsWriter, "finish", checked)
