import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from moga_st.convert import convert, rename
from moga_st.errors import BadInput
from moga_st.models.moga import DropPath
from moga_st.models.simvp import MogaTranslatorConfig, ProbabilitySimVP, SimVP, SimVPConfig
from moga_st.spec import InputSpec
from tests.conftest import GOLDEN

TINY = SimVPConfig(frames_in=4, frames_out=4, width=4, layers=2, translator=MogaTranslatorConfig(width=16, depth=2))


@pytest.fixture
def published(golden, tmp_path):
    """The golden file and the checkpoint in it, converted, without drop path as the golden outputs are."""
    data = golden("openstl_simvp_moga_tiny")
    path = tmp_path / "simvp.pth"
    torch.save({k[3:]: torch.from_numpy(v) for k, v in data.items() if k.startswith("sd/")}, path)
    net, config, _ = convert(path, "openstl")
    assert isinstance(net, SimVP)
    assert isinstance(config, SimVPConfig)
    for module in net.modules():
        if isinstance(module, DropPath):
            module.rate = 0.0
    return data, net, config


def test_config_follows_from_the_checkpoint(published):
    data, _, config = published
    given = json.loads(str(data["config"]))
    assert [config.frames_in, config.channels] == given["in_shape"][:2]
    assert (config.width, config.layers) == (given["hid_S"], given["N_S"])
    assert (config.translator.width, config.translator.depth) == (given["hid_T"], given["N_T"])


def test_evaluation_equals_the_published_implementation(published):
    data, net, _ = published
    with torch.no_grad():
        y = net.eval()(torch.from_numpy(data["x"]))
    np.testing.assert_allclose(y.numpy(), data["y_eval"], atol=1e-5)


def test_training_and_gradients_equal_the_published_implementation(published):
    data, net, _ = published
    y = net.train()(torch.from_numpy(data["x"]))
    np.testing.assert_allclose(y.detach().numpy(), data["y_train"], atol=1e-5)
    loss = (y - 0.5).square().mean()
    assert abs(loss.item() - data["loss"]) < 1e-5
    loss.backward()
    expected = rename({k[5:]: torch.from_numpy(v) for k, v in data.items() if k.startswith("grad/")}, "openstl")
    own = {k: p.grad for k, p in net.named_parameters()}
    assert own.keys() == expected.keys()
    for name, grad in expected.items():
        torch.testing.assert_close(own[name], grad, atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_full_model_has_the_published_keys_shapes_and_size():
    published = json.loads((GOLDEN / "openstl_simvp_moga_mmnist_keys.json").read_text())
    with torch.device("meta"):
        net = SimVPConfig().build()
        renamed = rename({k: torch.empty(s) for k, s in published.items()}, "openstl")
    assert {k: v.shape for k, v in net.state_dict().items()} == {k: v.shape for k, v in renamed.items()}
    assert sum(p.numel() for p in net.parameters()) == 46_777_065


def test_fewer_frames_are_truncated_and_more_are_rolled_out():
    torch.manual_seed(0)
    net = TINY.build().eval()
    x = torch.rand(2, 4, 1, 8, 8)
    with torch.no_grad():
        one = net(x)
        two = net(one)
        torch.testing.assert_close(net(x, 3), one[:, :3])
        torch.testing.assert_close(net(x, 7), torch.cat([one, two[:, :3]], 1))
    assert net(x, 1).shape == (2, 1, 1, 8, 8)


def test_patch_folding_is_a_pure_change_of_layout():
    """With patch 2 the encoder must see exactly the 2x2 pixels of its place, and write them back there."""
    config = SimVPConfig(frames_in=2, frames_out=2, width=4, layers=2, patch=2, translator=MogaTranslatorConfig(8, 2))
    net = config.build().eval()
    x = torch.rand(3, 2, 1, 16, 16)
    folded = net.encoder.fold(x[:, 0])
    torch.testing.assert_close(folded[:, :, 3, 5], x[:, 0, 0, 6:8, 10:12].flatten(1))
    torch.testing.assert_close(net.decoder.unfold(folded), x[:, 0])
    assert net(x).shape == x.shape


def test_frames_keep_their_order_in_the_channels():
    """The decoder's skip is a frame's own first layer: with a translator of zeros, frame i depends on frame i alone."""
    torch.manual_seed(0)
    net = TINY.build().eval()
    for p in net.translator.parameters():
        torch.nn.init.zeros_(p)
    x = torch.rand(1, 4, 1, 8, 8)
    changed = x.clone()
    changed[:, 2] += 0.5
    with torch.no_grad():
        difference = (net(changed) - net(x)).abs().amax((0, 2, 3, 4))
    assert difference[2] > 1e-4
    assert difference[[0, 1, 3]].max() < 1e-6


@pytest.mark.parametrize(
    ("config", "shape", "message"),
    [
        (TINY, (1, 3, 1, 8, 8), r"expected shape \(b, 4, 1, h, w\), got \(1, 3, 1, 8, 8\)"),
        (TINY, (1, 4, 3, 8, 8), "expected shape"),
        (TINY, (4, 1, 8, 8), "expected shape"),
    ],
)
def test_wrong_input_is_named(config, shape, message):
    with pytest.raises(BadInput, match=message):
        config.build()(torch.rand(shape))


def test_frames_that_the_encoder_cannot_reduce_are_padded_and_cropped():
    torch.manual_seed(0)
    net = TINY.build().eval()
    clip = torch.rand(2, 4, 1, 9, 11)
    padded = nn.functional.pad(clip.flatten(0, 1), (0, 1, 0, 1), mode="replicate").unflatten(0, (2, 4))
    with torch.no_grad():
        torch.testing.assert_close(net(clip), net(padded)[..., :9, :11], rtol=0, atol=0)
        # rolling out goes on with the padded frames, which the crop of the last pass alone would not give
        longer = net(padded, 6)
        torch.testing.assert_close(net(clip, 6), longer[..., :9, :11], rtol=0, atol=0)


@pytest.mark.parametrize("frames_out", [1, 3, 6])
def test_a_direct_head_gives_any_number_of_frames_in_one_pass(frames_out):
    torch.manual_seed(0)
    config = dataclasses.replace(TINY, frames_out=frames_out, future="direct")
    net = config.build()
    clip = torch.rand(2, 4, 1, 8, 8)
    assert net(clip).shape == (2, frames_out, 1, 8, 8)
    passes = []
    net.encoder.register_forward_hook(lambda *_: passes.append(1))
    net(clip)
    assert len(passes) == 1
    # it begins as the network that repeats its frames in turn: the translator's frame i mod 4, the last frame's skip
    features, first = net.encoder(clip.flatten(0, 1))
    features = features.unflatten(0, (2, 4))[:, [i % 4 for i in range(frames_out)]]
    torch.testing.assert_close(net.future(net.encoder(clip.flatten(0, 1))[0]), features.flatten(0, 1))
    last = first.unflatten(0, (2, 4))[:, [3] * frames_out].flatten(0, 1)
    torch.testing.assert_close(net.future_first(first), last)
    # and learns every frame: each has a gradient of its own
    net(clip)[:, -1].sum().backward()
    gradient = net.future.mix.weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_a_residual_network_begins_as_the_last_frame_and_learns_what_changes():
    torch.manual_seed(0)
    net = dataclasses.replace(TINY, residual=True).build()
    clip = torch.rand(2, 4, 1, 8, 8)
    torch.testing.assert_close(net(clip, 6), clip[:, -1:].expand(-1, 6, -1, -1, -1), rtol=0, atol=0)
    plain = TINY.build()
    weights = {k: torch.randn_like(v) * 0.1 if v.is_floating_point() else v for k, v in plain.state_dict().items()}
    plain.load_state_dict(weights)
    net.load_state_dict(weights)
    torch.testing.assert_close(net(clip), plain(clip) + clip[:, -1:])


def test_a_network_that_fades_mixes_the_last_frame_with_what_it_adds():
    torch.manual_seed(0)
    net = dataclasses.replace(TINY, residual=True, fade=True).build()
    clip = torch.rand(2, 4, 1, 8, 8)
    kept = 1 - 1 / (1 + math.exp(3))  # of the last frame, at the beginning
    torch.testing.assert_close(net(clip, 6)[:, :4], kept * clip[:, -1:].expand(-1, 4, -1, -1, -1))
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    loss = torch.zeros(())
    for _ in range(60):  # where nothing stays, it learns to let go
        loss = net(clip).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.02
    with pytest.raises(BadInput, match="fade: is how much of the last frame stays, which needs residual"):
        dataclasses.replace(TINY, fade=True)


def test_a_network_with_motion_moves_the_last_frame_by_its_velocity_and_then_changes_it():
    torch.manual_seed(0)
    net = dataclasses.replace(TINY, residual=True, fade=True, motion=True, channels=2).build()
    assert isinstance(net, SimVP)
    clip = torch.rand(2, 4, 2, 8, 12)
    kept = 1 - 1 / (1 + math.exp(3))
    torch.testing.assert_close(net(clip), kept * clip[:, -1:].expand(-1, 4, -1, -1, -1))  # begins without motion
    bias = net.decoder.readout.bias
    assert bias is not None
    with (
        torch.no_grad()
    ):  # a change of each channel, a velocity down and to the left, a whole pixel and a half, no fading
        bias.copy_(torch.tensor([0.25, -0.5, 1.0, -0.5, -100.0]))
    last = clip[:, -1].numpy()
    for k, frame in enumerate(net(clip).detach().unbind(1), 1):
        for y in range(8):
            for x in range(12):
                row, column = max(y - k, 0), min(x + k / 2, 11)
                left, part = int(column), column - int(column)
                seen = last[:, :, row, left] * (1 - part) + last[:, :, row, min(left + 1, 11)] * part
                np.testing.assert_allclose(frame[:, :, y, x], seen + np.array([0.25, -0.5]), atol=1e-5)
    with pytest.raises(BadInput, match="motion: moves the last frame, which needs residual"):
        dataclasses.replace(TINY, motion=True)


def test_motion_is_learnt():
    """A dot that goes two pixels a frame; a network without motion has to paint it anew in every frame."""
    torch.manual_seed(0)
    net = dataclasses.replace(TINY, residual=True, motion=True).build()
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(24.0), indexing="ij")
    starts = torch.arange(1.0, 9.0)
    at = starts[:, None] + torch.arange(8.0)
    frames = torch.exp(-((x - at[..., None, None]) ** 2 + (y - 4) ** 2) / 4)[:, :, None]
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    first = last = 0.0
    for i in range(60):
        loss = (net(frames[:, :4]) - frames[:, 4:]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        first, last = (loss.item() if i == 0 else first), loss.item()
    assert last < 0.25 * first


def test_probabilities_are_sigmoids_of_what_a_plain_network_reads_and_learn_by_cross_entropy():
    torch.manual_seed(0)
    net, plain = dataclasses.replace(TINY, probabilities=True).build().eval(), TINY.build().eval()
    assert isinstance(net, ProbabilitySimVP)
    plain.load_state_dict(net.state_dict())
    past, future = torch.rand(2, 4, 1, 8, 8), torch.rand(2, 4, 1, 8, 8)
    with torch.no_grad():
        given = net(past)
        torch.testing.assert_close(given, 1 / (1 + (-plain(past)).exp()))
        # rolling out goes on with frames in [0, 1], not with what was read
        torch.testing.assert_close(net(past, 6)[:, 4:], net(given)[:, :2])
        loss = net.training_loss(past, future, torch.tensor(0)).item()
    p, y = given.double().numpy(), future.double().numpy()
    assert loss == pytest.approx(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)), rel=1e-6)


def test_probabilities_begin_dark():
    torch.manual_seed(0)
    net = dataclasses.replace(TINY, probabilities=True).build()
    net.decoder.readout.weight.data.zero_()
    torch.testing.assert_close(net(torch.rand(1, 4, 1, 8, 8)), torch.full((1, 4, 1, 8, 8), 1 / (1 + math.exp(2))))


@pytest.mark.parametrize(
    "given", [{"unit": "K"}, {"mean": (0.5,)}, {"std": (0.5,)}, {"anomalies": ""}], ids=lambda given: next(iter(given))
)
def test_probabilities_need_frames_between_0_and_1(given):
    config = dataclasses.replace(TINY, probabilities=True)
    assert config.fit(InputSpec((4, 1, 8, 8))).probabilities
    with pytest.raises(BadInput, match=r"probabilities: needs frames in \[0, 1\]"):
        config.fit(InputSpec((4, 1, 8, 8), **given))


def test_probabilities_take_no_residual():
    with pytest.raises(BadInput, match="residual adds to; take one of them"):
        dataclasses.replace(TINY, probabilities=True, residual=True)


def test_numbers_left_out_are_the_datas():
    spec = InputSpec((4, 3, 20, 24), (6, 3, 20, 24), ("red", "green", "blue"))
    open_config = SimVPConfig(width=4, layers=2, translator=MogaTranslatorConfig(width=16, depth=2))
    fitted = open_config.fit(spec)
    assert (fitted.frames_in, fitted.frames_out, fitted.channels, fitted.frame_size) == (4, 6, 3, (20, 24))
    assert fitted.fit(spec) == fitted
    with pytest.raises(BadInput, match="frames in: the model has 5, the data 4; leave the model's out"):
        dataclasses.replace(open_config, frames_in=5).fit(spec)
    with pytest.raises(BadInput, match="SimVP predicts clips"):
        open_config.fit(InputSpec((27, 17, 2)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames_in": 3, "width": 4}, "3 x 4 = 12 is not divisible by 8"),
        ({"frames_in": 0}, "frames_in: expected at least 1"),
        ({"kernel": 4}, "kernel: expected an odd size, got 4"),
        ({"width": 5}, "width: expected an even number"),
        ({"translator": MogaTranslatorConfig(width=20)}, "width: expected a positive multiple of 8 channels, got 20"),
        ({"translator": MogaTranslatorConfig(depth=1)}, "depth: expected at least 2 blocks"),
    ],
)
def test_wrong_config_is_named(changes, message):
    with pytest.raises(BadInput, match=message):
        SimVPConfig(**changes).build()
