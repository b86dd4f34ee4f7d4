"""Updates of networks that bring their own loss, against the same computation written out."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from moga_st import checkpoint, optim, recipes
from moga_st.config import ModelConfig
from moga_st.engine import Runtime, train
from moga_st.engine.run import read_jsonl
from moga_st.engine.update import Update
from moga_st.errors import BadInput
from moga_st.tasks.task import Setting, with_own_loss

TINY = recipes.load(str(Path(__file__).parents[1] / "tiny.py"))


class OwnLoss(nn.Module):
    """Mixes frames; its loss is not the task's: an absolute error, and a term that grows with the update's number."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Parameter(torch.eye(4) + 0.1)

    def forward(self, past: Tensor) -> Tensor:
        return torch.einsum("btchw,ts->bschw", past, self.mix)

    def training_loss(self, past: Tensor, future: Tensor, step: Tensor) -> Tensor:
        return (self(past) - future).abs().mean() + 0.01 * step * self.mix.square().sum()


@dataclass(frozen=True)
class OwnLossConfig(ModelConfig):
    def build(self) -> nn.Module:
        return OwnLoss()


CONFIG = replace(
    TINY, name="own_loss", model=OwnLossConfig(), optim=replace(TINY.optim, clip_norm=0.0, ema_decay=0.0), steps=5
)


def written_out(root: Path) -> tuple[list[float], Tensor]:
    """Losses of the updates, each the mean over its two parts, and the weights after them."""
    task = CONFIG.task.build(Setting(torch.device("cpu"), root, CONFIG.seed, 2))
    net = OwnLoss()
    adamw = optim.build(net, CONFIG.optim)
    losses = []
    for number in range(CONFIG.steps):
        optim.set_schedule(adamw, *optim.schedule(CONFIG.optim, number, CONFIG.steps))
        parts = []
        for part in range(2):
            past, future = task.batch(torch.tensor(2 * number + part), None)
            mixed = torch.stack([(past * net.mix[:, s].view(4, 1, 1, 1)).sum(1) for s in range(4)], 1)
            parts.append((mixed - future).abs().mean() + 0.01 * number * (net.mix**2).sum())
        torch.stack(parts).mean().backward()
        losses.append(sum(p.item() for p in parts) / 2)
        adamw.step()
        adamw.zero_grad()
    return losses, net.mix.detach()


def test_a_networks_own_loss_is_what_an_update_minimises(tmp_path):
    runtime = Runtime(device="cpu", data_root=tmp_path, runs=tmp_path / "runs", log_every=1)
    folder = train(CONFIG, runtime)
    lines = read_jsonl(folder / "metrics.jsonl")
    losses, mix = written_out(tmp_path)
    assert [line["loss"] for line in lines if "loss" in line] == pytest.approx(losses, rel=1e-5)
    torch.testing.assert_close(checkpoint.load(folder / "last.pt")["net"]["mix"], mix, rtol=1e-5, atol=1e-6)
    # it is scored as any other: by the task's error of what it predicts
    task = CONFIG.task.build(Setting(torch.device("cpu"), tmp_path, CONFIG.seed, 2))
    net = OwnLoss()
    net.load_state_dict({"mix": mix})
    assert lines[-1]["val/mse"] == pytest.approx(task.evaluate(net)["mse"], rel=1e-5)


def test_another_loss_beside_the_networks_own_is_refused(tmp_path):
    task = replace(CONFIG.task, loss="l1").build(Setting(torch.device("cpu"), tmp_path, CONFIG.seed, 2))
    with pytest.raises(BadInput, match=r"task.loss: the network brings its own loss; leave l1 out"):
        task.loss(with_own_loss(OwnLoss()), task.batch(torch.tensor(0), None), torch.tensor(0))


def test_in_shards_and_compiled_the_own_loss_counts_too(tmp_path):
    """A wrapper around the network must not hide the loss that it brings."""
    losses, _ = written_out(tmp_path)
    sharded = replace(CONFIG, shards=2)
    runtime = Runtime(device="cpu", data_root=tmp_path, runs=tmp_path / "runs", log_every=1)
    lines = read_jsonl(train(sharded, runtime) / "metrics.jsonl")
    assert [line["loss"] for line in lines if "loss" in line] == pytest.approx(losses, rel=1e-5)
    task = CONFIG.task.build(Setting(torch.device("cpu"), tmp_path, CONFIG.seed, 2))
    net = OwnLoss()
    update = Update(CONFIG, task, net, with_own_loss(net), net, optim.build(net, CONFIG.optim), Runtime(device="cpu"))
    update.called = torch.compile(update.called, backend="aot_eager")  # as inductor would, without a C++ compiler
    for number in range(2):
        update.loss_sum.zero_()
        update(number, [None, None])
        assert update.loss_sum.item() / 2 == pytest.approx(losses[number], rel=1e-5)
