import threading
import time

import pytest
import torch
from torch import nn

from moga_st import dist, shards
from moga_st.errors import BadInput
from moga_st.kernels.sharded import prepare
from moga_st.shards import Shards, Spread


class Net(nn.Module):
    """Every layer that shards compute otherwise than a whole batch, and drop path's draws."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.point = nn.Conv2d(8, 6, 1)
        self.last = nn.BatchNorm1d(6)
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        x = self.point(torch.relu(self.norm(self.first(x))))
        x = x * dist.rand_over_global_batch(len(x), x.device).to(x.dtype)[:, None, None, None]
        return self.last(x.mean(3))


def here() -> tuple[Shards, int]:
    found = shards.current()
    assert found is not None
    return found


def loss_of(net, batch):
    x, y = batch["x"], batch["y"]
    return (net(x) - y).square().mean()


def made(seed: int = 0):
    torch.manual_seed(seed)
    net = Net().double().train()
    return net, {"x": torch.randn(8, 3, 6, 5).double() + 2, "y": torch.randn(8, 6, 4).double()}


@pytest.mark.parametrize("count", [1, 2, 4])
def test_shards_learn_what_a_whole_batch_does(count):
    net, batch = made()
    torch.manual_seed(1)
    loss = loss_of(net, batch)
    loss.backward()

    ours, batch = made()
    prepare(ours)
    torch.manual_seed(1)
    with Shards(count) as group:
        found, gradients = group.gradients(lambda part: loss_of(ours, part), batch, list(ours.parameters()))

    torch.testing.assert_close(found, loss.detach())
    for (name, p), g in zip(net.named_parameters(), gradients, strict=True):
        assert (g is None) == (p.grad is None), name
        if g is not None:
            torch.testing.assert_close(g, p.grad, msg=name)
    for (name, b), other in zip(net.named_buffers(), ours.buffers(), strict=True):
        torch.testing.assert_close(other, b, msg=name)


def test_the_bits_do_not_depend_on_which_shard_is_late():
    results: list[tuple[torch.Tensor, list[torch.Tensor | None]]] = []
    for late in range(4):
        net, batch = made()
        net.float()
        batch = {k: v.float() for k, v in batch.items()}
        prepare(net)

        def late_loss(part, net=net, late=late):
            time.sleep(0.02 * (here()[1] == late))
            return loss_of(net, part)

        with Shards(4) as group:
            torch.manual_seed(1)
            results.append(group.gradients(late_loss, batch, list(net.parameters())))
    for loss, gradients in results[1:]:
        assert torch.equal(loss, results[0][0])
        for a, b in zip(gradients, results[0][1], strict=True):
            assert (a is None) == (b is None)
            assert a is None or b is None or torch.equal(a, b)


def test_parts_run_at_once_and_what_they_exchange_comes_in_order():
    met = threading.Barrier(3, timeout=30)  # it would break if one part ran after the other

    def part(x):
        group, number = here()
        met.wait()
        return number, group.exchange(number, "x", x)

    with Shards(3) as group:
        for _ in range(20):
            assert group.run(part, [10, 20, 30]) == [(i, [10, 20, 30]) for i in range(3)]
        assert group.run(lambda x: x + 1, [1, 2]) == [2, 3]
        assert torch.get_num_threads() == 1
    assert shards.current() is None


def test_a_shard_that_fails_stops_the_others_and_the_next_batch_is_computed():
    def part(x):
        group, number = here()
        if x < 0:
            raise ValueError("negative")
        return sum(group.exchange(number, "x", x))

    with Shards(3) as group:
        with pytest.raises(ValueError, match="negative"):
            group.run(part, [1, -1, 1])
        assert group.run(part, [1, 2, 3]) == [6, 6, 6]
        with pytest.raises(RuntimeError, match="different operators"):
            group.run(lambda i: group.exchange(i, i == 0, i), [0, 1, 2])


def test_threads_are_given_back():
    before, alive = torch.get_num_threads(), threading.active_count()
    with Shards(2) as group:
        group.run(abs, [-1, -2])
    assert torch.get_num_threads() == before
    assert threading.active_count() == alive


def test_what_shards_cannot_repeat_is_refused():
    with pytest.raises(BadInput, match="0 draws random numbers"):
        prepare(nn.Sequential(nn.Dropout(0.1)))
    prepare(nn.Sequential(nn.Dropout(0.0)))
    with pytest.raises(BadInput, match="BatchNorm2d"):
        prepare(nn.Sequential(nn.BatchNorm2d(3, momentum=None)))
    weight = nn.Parameter(torch.ones(3))
    with Shards(2) as group:
        with pytest.raises(BadInput, match="random numbers"):
            group.gradients(lambda x: (torch.rand(3) * weight * x).sum(), torch.ones(4, 3), [weight])
        with pytest.raises(BadInput, match="5 examples"):
            group.split((torch.ones(5, 3), 1))


def test_an_evaluation_in_shards_is_that_of_the_network():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), norm).double()
    prepare(net)
    assert norm.running_mean is not None
    norm.running_mean += 1
    with Shards(4) as group:
        spread = Spread(net, group).eval()
        assert not net.training
        for size in (1, 6, 8):
            x = torch.randn(size, 3, 2, 2).double()
            out = spread(x)
            torch.testing.assert_close(out, net(x).detach())
            assert not out.requires_grad
