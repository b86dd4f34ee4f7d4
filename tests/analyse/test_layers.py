import dataclasses
import json

import pytest
import torch
from torch import Tensor, nn

from moga_st.analyse.layers import layers
from moga_st.bench import count
from moga_st.cli import main
from moga_st.models.lifter import LifterConfig
from moga_st.models.moganet import SIZES
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig

CONFIGS = {
    "classifier": dataclasses.replace(SIZES["xt"], size=32),
    "video": SimVPConfig(width=8, layers=2, translator=MogaTranslatorConfig(width=32, depth=2)),
    "lifter": LifterConfig(frames=9, width=96, depth=2),
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_layers_add_up_to_the_network(name: str, depth: int):
    """To the totals that `moga-st models` prints."""
    config = CONFIGS[name]
    net = config.build().eval()
    found = layers(net, torch.rand(1, *config.example_shape), depth, repeats=1)
    assert (sum(r.params for r in found), sum(r.macs for r in found)) == count(config)
    assert len({r.name for r in found}) == len(found)
    assert all(r.ms > 0 for r in found if r.macs)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
        self.second = nn.Linear(4, 2)
        self.own = nn.Parameter(torch.zeros(2, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)) @ self.own


def test_a_small_network_by_hand():
    rows = {r.name: r for r in layers(Two(), torch.rand(1, 3), depth=1)}
    assert list(rows) == ["Two (itself)", "first", "second"]
    assert [(r.params, r.macs, r.shape) for r in rows.values()] == [(10, 10, ()), (16, 12, (4,)), (10, 8, (2,))]
    deeper = {r.name: r for r in layers(Two(), torch.rand(1, 3), depth=2)}
    assert (deeper["first.0"].kind, deeper["first.0"].macs, deeper["first.1"].macs) == ("Linear", 12, 0)
    assert deeper["second"] == rows["second"]._replace(ms=deeper["second"].ms)


def test_the_verb_lists_one_model_and_its_layers(capsys):
    def said(*arguments: str) -> str:
        with pytest.raises(SystemExit):
            main(["models", *arguments])
        told = capsys.readouterr()
        return told.out or told.err

    (row,) = json.loads(said("lifter_xs", "--json"))
    assert row["model"] == "lifter_xs"
    found = json.loads(said("lifter_xs", "--layers", "--depth", "1", "--repeats", "1", "--json"))
    assert (sum(r["params"] for r in found), sum(r["macs"] for r in found)) == (row["params"], row["macs"])
    table = said("lifter_xs", "--layers", "--depth", "1", "--repeats", "1").splitlines()
    assert table[0].split() == ["layer", "kind", "output", "params", "(M)", "MACs", "(G)", "share", "ms", "share"]
    assert table[-1].startswith("all ")
    assert "no model 'lifter_x' (did you mean 'lifter_xs'?)" in said("lifter_x")
    assert "of one model; name it" in said("--layers")
