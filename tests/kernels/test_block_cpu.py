import pytest
import torch

from moga_st.kernels import block_cpu, orders_cpu
from moga_st.kernels.sharded import prepare
from moga_st.models.moga import MogaBlock
from moga_st.shards import Shards


def block(drop_path: float = 0.0) -> MogaBlock:
    torch.manual_seed(0)
    made = MogaBlock(16, 3.0, drop_path).double().train()
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.3 * torch.randn_like(p))  # sigma and the layer scales start so small that mistakes would not show
    return made


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("drop_path", [0.0, 0.4])
@pytest.mark.parametrize(
    ("size", "way"), [((7, 9), orders_cpu.Dense), ((2, 2), orders_cpu.Dense), ((9, 8), orders_cpu.Direct)]
)
def test_a_block_written_out_is_the_block(count, drop_path, size, way):
    whole, ours = block(drop_path), block(drop_path)
    prepare(ours)
    shift = torch.linspace(-2, 2, 16).double()[:, None, None]  # a batch norm has something to take away
    x, w = torch.randn(6, 16, *size).double() + shift, torch.randn(6, 16, *size).double()
    assert orders_cpu.way(x) is way

    def loss(net, part):
        x, w = part
        return (net(x) * w).mean()

    torch.manual_seed(1)
    xs = x.clone().requires_grad_()
    expected = loss(whole, (xs, w))
    expected.backward()

    def of_part(part):
        assert block_cpu.serves(double_silu=False)
        return loss(ours, part)

    torch.manual_seed(1)
    with Shards(count) as group:
        y = x.clone().requires_grad_()
        found, gradients = group.gradients(of_part, (y, w), [y, *ours.parameters()])
    torch.testing.assert_close(found, expected.detach())
    for (name, p), g in zip([("x", xs), *whole.named_parameters()], gradients, strict=True):
        torch.testing.assert_close(g, p.grad, rtol=1e-8, atol=1e-10, msg=name)
    for (name, b), other in zip(whole.named_buffers(), ours.buffers(), strict=True):
        torch.testing.assert_close(other, b, msg=name)


def test_it_serves_shards_in_float32_only():
    assert not block_cpu.serves(double_silu=False)

    def served(autocast: bool) -> bool:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return block_cpu.serves(double_silu=False)

    with Shards(1) as group:
        assert group.run(served, [False]) == [True]
        assert group.run(served, [True]) == [False]
        assert group.run(block_cpu.serves, [True]) == [False]
