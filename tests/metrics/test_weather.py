import numpy as np
import torch

from moga_st.metrics import weather


def test_errors_are_by_channel_in_their_units_as_numpy_has_them():
    made = np.random.default_rng(0)
    pred, true = made.normal(size=(2, 5, 4, 3, 6, 7)) * np.array([1.0, 50.0, 280.0])[:, None, None]
    got = weather.mse(torch.from_numpy(pred), torch.from_numpy(true))
    assert got.shape == (5, 4, 3)
    np.testing.assert_allclose(got, ((pred - true) ** 2).mean((3, 4)), rtol=1e-12)
    np.testing.assert_allclose(
        weather.mae(torch.from_numpy(pred), torch.from_numpy(true)), np.abs(pred - true).mean((3, 4)), rtol=1e-12
    )
    # OpenSTL: np.mean(error / (c h w), axis=(batch, time)).sum()
    published = (((pred - true) ** 2) / (3 * 6 * 7)).mean((0, 1)).sum()
    ours = weather.mse_published(torch.from_numpy(pred), torch.from_numpy(true)).mean()
    np.testing.assert_allclose(ours, published, rtol=1e-12)
    published = (np.abs(pred - true) / (3 * 6 * 7)).mean((0, 1)).sum()
    np.testing.assert_allclose(
        weather.mae_published(torch.from_numpy(pred), torch.from_numpy(true)).mean(), published, rtol=1e-12
    )


def test_rmse_is_the_root_of_the_mean_over_all():
    pred = torch.tensor([1.0, 7.0]).view(2, 1, 1, 1, 1).expand(2, 1, 1, 4, 4)
    error = weather.mse(pred, torch.zeros(2, 1, 1, 4, 4))
    assert weather.rmse(error.mean((0, 1))).item() == 5.0  # sqrt((1 + 49) / 2), not (1 + 7) / 2


def test_errors_of_large_values_keep_their_digits():
    true = torch.full((1, 1, 2, 2), 101_325.0)  # pressure in Pa: float32 has 0.008 Pa there
    assert weather.mse(true + 0.25, true).item() == 0.0625
