import lpips
import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from moga_st.errors import BadInput
from moga_st.metrics.video import LPIPS, mae, mse, psnr, ssim


@pytest.fixture
def frames(golden):
    data = golden("video_metrics")
    return data, torch.from_numpy(data["pred"]), torch.from_numpy(data["true"])


def test_golden_values(frames):
    data, pred, true = frames
    assert mse(pred, true).mean().item() == pytest.approx(data["mse"].item(), rel=1e-6)
    assert mae(pred, true).mean().item() == pytest.approx(data["mae"].item(), rel=1e-6)
    assert psnr(pred, true).mean().item() == pytest.approx(data["psnr"].item(), abs=1e-5)
    assert ssim(pred, true).mean().item() == pytest.approx(data["ssim_range1"].item(), abs=1e-5)
    assert ssim(pred, true, 2.0).mean().item() == pytest.approx(data["ssim_openstl_range2"].item(), abs=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("data_range", [1.0, 2.0])
def test_ssim_and_psnr_equal_scikit_image_frame_by_frame(channels, data_range):
    rng = np.random.default_rng(channels)
    true = rng.random((2, 3, channels, 17, 23))
    pred = true + rng.normal(0, 0.2, true.shape)  # some of it outside [0, 1], which is clipped
    own_ssim = ssim(torch.from_numpy(pred), torch.from_numpy(true), data_range)
    own_psnr = psnr(torch.from_numpy(pred), torch.from_numpy(true))
    assert own_ssim.shape == own_psnr.shape == (2, 3)
    for b in range(2):
        for t in range(3):
            p, y = np.clip(pred[b, t], 0, 1), true[b, t]
            expected = structural_similarity(p, y, data_range=data_range, channel_axis=0)
            assert own_ssim[b, t].item() == pytest.approx(expected, abs=1e-5)
            assert own_psnr[b, t].item() == pytest.approx(peak_signal_noise_ratio(y, p, data_range=1), abs=1e-9)


def test_errors_are_sums_over_pixels_before_clipping():
    true = torch.zeros(1, 1, 2, 8, 8)
    pred = torch.full_like(true, 1.5)
    assert mse(pred, true).item() == 1.5**2 * 128
    assert mae(pred, true).item() == 1.5 * 128
    assert psnr(pred, true).item() == 0.0  # clipped to 1: error 1, 0 dB


def test_equal_frames_are_perfect():
    x = torch.rand(2, 1, 16, 16)
    assert ssim(x, x).tolist() == pytest.approx([1.0, 1.0])
    assert mse(x, x).tolist() == [0.0, 0.0]
    assert torch.isinf(psnr(x, x)).all()


def test_frames_smaller_than_the_window_are_refused():
    with pytest.raises(BadInput, match="at least 7x7"):
        ssim(torch.zeros(1, 1, 6, 9), torch.zeros(1, 1, 6, 9))


@pytest.mark.filterwarnings("ignore::UserWarning:torchvision")
def test_lpips_is_the_package_on_clipped_three_channel_frames():
    """The trunk is random: its weights would have to be downloaded, and the plumbing is what can be wrong here."""
    torch.manual_seed(0)
    metric = LPIPS(torch.device("cpu"), pnet_rand=True)
    pred, true = torch.rand(2, 2, 1, 64, 64) * 1.4 - 0.2, torch.rand(2, 2, 1, 64, 64)
    own = metric(pred, true)
    assert own.shape == (2, 2)
    for b in range(2):
        for t in range(2):
            x, y = (v[b, t].clamp(0, 1).repeat(3, 1, 1)[None] * 2 - 1 for v in (pred, true))
            with torch.no_grad():
                assert own[b, t].item() == pytest.approx(metric.net(x, y).item(), rel=1e-5)
    assert metric(true, true).abs().max() == 0
    assert isinstance(metric.net, lpips.LPIPS)


def test_lpips_without_its_trunk_says_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def fail(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(BadInput, match=r"put the file at .*alexnet-owt-7be5be79\.pth"):
        LPIPS(torch.device("cpu"))
