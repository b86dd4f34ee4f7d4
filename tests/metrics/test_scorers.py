import pytest
import torch

from moga_st.metrics.scorers import FieldScorer
from moga_st.spec import InputSpec


def test_fields_are_scored_by_variable_in_its_unit():
    spec = InputSpec((2, 2, 8, 8), channels=("u", "v"), mean=(3.0, -1.0), std=(2.0, 10.0), unit="m/s")
    made = torch.Generator().manual_seed(0)
    pred, true = (torch.rand(3, 2, 2, 8, 8, generator=made) for _ in range(2))
    scorer = FieldScorer()
    scores = scorer.finish({name: value.mean() for name, value in scorer(pred, true, spec).items()})
    error = (pred - true).double() * torch.tensor([2.0, 10.0]).view(2, 1, 1)
    assert list(scores)[:2] == ["mse", "rmse"]
    assert scores["mse"].item() == pytest.approx(error.square().mean().item(), rel=1e-6)
    assert scores["mae"].item() == pytest.approx(error.abs().mean().item(), rel=1e-6)
    for i, name in enumerate(spec.channels):
        assert scores[f"mse {name}"].item() == pytest.approx(error[:, :, i].square().mean().item(), rel=1e-6)
        assert scores[f"rmse {name}"].item() == pytest.approx(error[:, :, i].square().mean().sqrt().item(), rel=1e-6)
        assert scores[f"mae {name}"].item() == pytest.approx(error[:, :, i].abs().mean().item(), rel=1e-6)
    assert len(scores) == 3 + 6
