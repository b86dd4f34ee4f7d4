import copy
import math

import pytest
import torch
from torch import nn

from moga_st.config import BadInput
from moga_st.models.moganet import MogaNetConfig
from moga_st.optim import OptimConfig, average_rate, build, schedule, update_average


@pytest.mark.parametrize("steps", [7, 50, 1000])
def test_one_cycle_equals_torchs_learning_rate_and_momentum(steps):
    optimiser = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=1e-3)
    reference = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=steps, final_div_factor=1e4)
    for step in range(steps):
        lr, beta1 = schedule(OptimConfig(lr=1e-3), step, steps)
        assert lr == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-9, abs=1e-15)
        assert beta1 == pytest.approx(optimiser.param_groups[0]["betas"][0], rel=1e-9)
        optimiser.step()
        reference.step()


def test_cosine_with_warm_up_by_hand():
    config = OptimConfig(lr=2.0, schedule="cosine", warmup=0.2)
    lrs = [schedule(config, i, 10)[0] for i in range(10)]
    assert lrs[:3] == [1.0, 2.0, 2.0]
    assert lrs[6] == pytest.approx(1.0)
    assert lrs[9] == pytest.approx(1 + math.cos(math.pi * 7 / 8))
    assert schedule(OptimConfig(lr=2.0, schedule="constant"), 9, 10) == (2.0, 0.9)


def test_only_convolution_and_linear_weights_decay():
    net = MogaNetConfig((8, 8, 8, 8), (1, 1, 1, 1), classes=3).build()
    groups = build(net, OptimConfig(algorithm="adamw", weight_decay=0.1)).param_groups
    names = {id(p): n for n, p in net.named_parameters()}
    decayed = {names[id(p)] for p in groups[0]["params"]}
    assert groups[0]["weight_decay"] == 0.1
    assert groups[1]["weight_decay"] == 0.0
    modules = dict(net.named_modules())
    expected = {f"{n}.weight" for n, m in modules.items() if isinstance(m, (nn.Conv2d, nn.Linear))}
    assert decayed == expected
    assert len(groups[0]["params"]) + len(groups[1]["params"]) == len(names)


def test_adam_refuses_weight_decay():
    with pytest.raises(BadInput, match=r"use --optim\.algorithm adamw"):
        build(nn.Linear(1, 1), OptimConfig(weight_decay=0.1))


def test_average_follows_its_formula_and_forgets_the_start():
    net = nn.BatchNorm1d(2)
    average, expected = copy.deepcopy(net), net.weight.detach().clone()
    for step in range(30):
        with torch.no_grad():
            net.weight.add_(1.0)
        assert net.num_batches_tracked is not None
        net.num_batches_tracked += 1
        update_average(average, net, average_rate(0.9, step))
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * net.weight.detach()
    torch.testing.assert_close(average.weight.detach(), expected)
    assert average.num_batches_tracked == 30
