import copy
import math

import pytest
import torch
from torch import nn

from moga_st.errors import BadInput
from moga_st.models.moga import MogaBlock
from moga_st.models.moganet import MogaNetConfig
from moga_st.optim import (
    OptimConfig,
    average_rate,
    build,
    orthogonalise,
    orthogonalise_all,
    schedule,
    set_schedule,
    update_average,
)
from moga_st.shards import Shards


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
    with pytest.raises(BadInput, match="Adam has none; take adamw"):
        build(nn.Linear(1, 1), OptimConfig(weight_decay=0.1))


@pytest.mark.parametrize(("n", "m"), [(12, 30), (30, 12), (16, 16)])
def test_orthogonalise_keeps_the_singular_vectors_and_brings_the_values_near_one(n, m):
    u, _, v = torch.linalg.svd(torch.randn(3, n, m), full_matrices=False)
    x = u * torch.linspace(0.2, 5.0, min(n, m)) @ v
    moved = u.mT @ orthogonalise(x) @ v.mT
    values = moved.diagonal(dim1=1, dim2=2)
    assert ((values > 0.65) & (values < 1.25)).all()
    torch.testing.assert_close(moved, torch.diag_embed(values), atol=1e-5, rtol=0)


def test_muon_moves_matrices_as_torchs_muon_and_the_rest_as_adamw():
    net, reference = MogaBlock(16, 2.0), MogaBlock(16, 2.0)
    reference.load_state_dict(net.state_dict())
    config = OptimConfig(algorithm="muon", lr=0.02, weight_decay=0.1)
    optimiser = build(net, config)
    matrices = [n for n, p in reference.named_parameters() if p.ndim == 4 and min(p.shape[:2]) > 1]
    others = [n for n, _ in reference.named_parameters() if n not in matrices]
    assert len(matrices) == 6, "proj_in, gate, mix, proj_out, expand, reduce"
    params = dict(reference.named_parameters())
    flat = {n: nn.Parameter(params[n].detach().flatten(1).clone()) for n in matrices}
    decays = [n for n in others if params[n].ndim == 4 and "scale" not in n and "sigma" not in n]
    muon = torch.optim.Muon(list(flat.values()), lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(
        [
            {"params": [params[n] for n in decays], "weight_decay": 0.1},
            {"params": [params[n] for n in others if n not in decays], "weight_decay": 0.0},
        ],
        lr=0.02,
    )
    for step in range(4):
        for name, p in net.named_parameters():
            p.grad = torch.randn_like(p)
            params[name].grad = p.grad.clone()
            if name in flat:
                flat[name].grad = p.grad.flatten(1).clone()
        for o in (optimiser, muon, adamw):
            for group in o.param_groups:
                group["lr"] = 0.02 / (1 + step)
            o.step()
    for name, p in net.named_parameters():
        if name in flat:  # torch's iterates in bfloat16
            torch.testing.assert_close(p.flatten(1), flat[name], atol=1e-3, rtol=0)
            assert (p - params[name]).abs().max() > 0.01, "it moved by far more than that"
        else:
            torch.testing.assert_close(p, params[name], atol=1e-7, rtol=0)


def test_muon_with_its_rates_on_the_device_is_muon():
    net, other = MogaBlock(8, 2.0), MogaBlock(8, 2.0)
    other.load_state_dict(net.state_dict())
    config = OptimConfig(algorithm="muon", lr=0.02)
    plain, on_device = build(net, config), build(other, config, on_device=True)
    # torch refuses rates on the device outside of torch.compile on a CPU; "eager" traces, and runs what it traced
    step_of = {plain: plain.step, on_device: torch.compile(on_device.step, backend="eager")}
    for step in range(3):
        for p, q in zip(net.parameters(), other.parameters(), strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        for optimiser in (plain, on_device):
            set_schedule(optimiser, *schedule(config, step, 3))
            step_of[optimiser]()
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-6, rtol=0)


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


@pytest.mark.parametrize("count", [2, 3])
def test_threads_that_share_matrices_out_make_each_orthogonal_once(count):
    torch.manual_seed(0)
    stacks = [torch.randn(n, 6, 9) for n in (1, 4, 1, 5)]
    with Shards(count) as shards:
        for x, y in zip(stacks, orthogonalise_all(stacks, shards), strict=True):
            torch.testing.assert_close(y, orthogonalise(x))
