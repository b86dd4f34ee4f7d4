"""2D keypoints of people over time, from the files that pose detectors write, ready for lifting.

:func:`read_people` reads everyone in a file, :func:`read_keypoints` one person; :func:`write_people` writes what they
read.  ``formats`` has a module for each program's files; the rest is what all need: which joint is which (layouts),
which frame (numbering), who is who (identity), left and right (swaps), what is missing (filling), what cannot be meant
as it stands (checks).
"""

from moga_st.data.pose.keypoints.formats.mmpose import write_people
from moga_st.data.pose.keypoints.formats.which import holds_keypoints
from moga_st.data.pose.keypoints.layouts import LAYOUT_BY_NAME, STANDING
from moga_st.data.pose.keypoints.reading import Keypoints, read_keypoints, read_people

__all__ = [
    "LAYOUT_BY_NAME",
    "STANDING",
    "Keypoints",
    "holds_keypoints",
    "read_keypoints",
    "read_people",
    "write_people",
]
