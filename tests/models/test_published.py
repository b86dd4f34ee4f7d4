import dataclasses

import pytest

from moga_st.bench import count
from moga_st.models.moganet import SIZES
from moga_st.models.published import IMAGENET


@pytest.mark.parametrize("told", IMAGENET)
def test_our_counts_are_the_published_ones(told):
    params, macs = count(dataclasses.replace(SIZES[told.size], size=told.side))
    assert abs(params / 1e6 / told.params_m - 1) < 0.007
    assert abs(macs / 1e9 / told.macs_g - 1) < 0.025
