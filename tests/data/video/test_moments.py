import numpy as np

from moga_st.data.video.moments import Moments

RNG = np.random.default_rng(0)


def test_moments_of_blocks_are_those_of_the_whole():
    values = RNG.normal(1e4, 1e-2, (1000, 2))
    moments = Moments(2)
    for part in np.split(values, [10, 11, 500]):
        moments.add(part)
    np.testing.assert_allclose(moments.mean_std(), [values.mean(0), values.std(0)], rtol=1e-9)
    constant = Moments(1)
    constant.add(np.full((5, 1), 3.0))
    assert constant.mean_std()[1] == [1.0]
