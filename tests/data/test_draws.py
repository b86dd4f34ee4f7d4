"""The counter-based generator: against splitmix64 in plain integers, and the same bits by numpy and by torch."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from moga_st.data.draws import _bits, uniform

GOLDEN, WRAP = 0x9E3779B97F4A7C15, (1 << 64) - 1
MIX1, MIX2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
INDEX = torch.tensor([0, 1, 2, -1, 2**62, -(2**63), 2**63 - 1])


def mixed(x: int) -> int:
    x = (x ^ (x >> 30)) * MIX1 & WRAP
    x = (x ^ (x >> 27)) * MIX2 & WRAP
    return x ^ (x >> 31)


def test_the_mixing_is_splitmix64s():
    """The first outputs for the seed 1234567, as its author's program gives them."""
    found = [mixed((1234567 + i * GOLDEN) & WRAP) for i in (1, 2, 3)]
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("seed", [0, 1, -5, 2**63 - 1, -(2**63)])
def test_numbers_are_those_of_plain_integers_by_numpy_and_by_torch(seed):
    start = mixed((seed * GOLDEN + MIX2) & WRAP)
    expected = []
    for index in INDEX.tolist():
        stream = mixed((index * GOLDEN + start) & WRAP)
        expected.append([(mixed((stream + i * GOLDEN) & WRAP) >> 11) / 2**53 for i in range(1, 6)])
    reference = torch.tensor(expected, dtype=torch.float64)
    assert torch.equal(uniform(seed, INDEX, 5), reference)  # on the CPU numpy's
    assert torch.equal(_bits(seed, INDEX, torch.arange(1, 6)).double() / 2**53, reference)  # elsewhere torch's
    assert torch.equal(uniform(seed, torch.stack([INDEX, INDEX], 1)[:, 1], 5), reference)  # in any layout


def test_a_trace_draws_anew_for_another_index():
    traced = make_fx(lambda index: uniform(3, index, 5))(INDEX[:3])
    assert torch.equal(traced(INDEX[3:6]), uniform(3, INDEX[3:6], 5))
