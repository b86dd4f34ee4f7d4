import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from moga_st.analyse.gradcam import gradcam, spread
from moga_st.cli import main
from moga_st.data.augment import Look, evaluation
from moga_st.errors import BadInput
from moga_st.infer.classify import load_classifier
from moga_st.models.moganet import MogaNetConfig
from moga_st.pretrained import export_weights
from moga_st.spec import InputSpec

NET = MogaNetConfig((8, 8, 8, 8), (1, 1, 1, 1), (2.0, 2.0, 2.0, 2.0), channels=3, classes=3, stem_stride=1)
SPEC = InputSpec((3, 32, 32), (3,), ("red", "green", "blue"), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
ABOUT = {"facts": {"classes": ["cat", "dog", "cow"], "test_view": {"size": [32, 32], "crop": 0.8}}}


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    net = NET.build()
    nn.init.normal_(net.head.weight)  # type: ignore[arg-type]
    export_weights(tmp_path / "w.safetensors", net, NET, ABOUT, spec=SPEC)
    return tmp_path / "w.safetensors", net.eval()


@pytest.fixture
def images(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "set").mkdir()
    for i in range(3):
        Image.fromarray(rng.integers(0, 255, (50, 40, 3), np.uint8)).save(tmp_path / "set" / f"{i}.png")
    return tmp_path / "set"


def test_a_classifier_says_what_its_network_says_at_the_view_that_it_was_tested_with(weights, images):
    path, net = weights
    view = evaluation(Look(32, 32, 0.8, SPEC.mean, SPEC.std))
    found = list(load_classifier(path)([images], top=2))
    assert [f.path.name for f in found] == ["0.png", "1.png", "2.png"]
    for one in found:
        with torch.no_grad():
            share = net(view(np.asarray(Image.open(one.path)))[None]).softmax(1)[0]
        order = share.argsort(descending=True)[:2].tolist()
        assert [name for name, _ in one.top] == [["cat", "dog", "cow"][i] for i in order]
        np.testing.assert_allclose([s for _, s in one.top], share[order].numpy(), rtol=1e-5)


def test_the_verb_prints_classes_and_draws_heat_maps(weights, images, tmp_path, capsys):
    with pytest.raises(SystemExit) as leave:
        main(
            [
                "classify",
                str(weights[0]),
                str(images / "1.png"),
                str(images),
                "--json",
                "--cam",
                "--out",
                str(tmp_path / "o"),
            ]
        )
    assert leave.value.code == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["image"].rsplit("/", 1)[1] for line in lines] == ["1.png", "0.png", "1.png", "2.png"]
    assert all(abs(sum(t["share"] for t in line["top"]) - 1) < 1e-5 for line in lines)
    picture = np.asarray(Image.open(lines[0]["written"][0]))
    assert picture.shape[1] >= 2 * picture.shape[0] - 48  # the view, and beside it the view under the heat map
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    with pytest.raises(SystemExit):
        main(["classify", str(weights[0]), str(images / "1.png"), "--names", str(tmp_path / "names.txt"), "--top", "1"])
    assert capsys.readouterr().out.rsplit(" ", 2)[0].endswith(tuple(f"1.png: {n}" for n in "abc"))


@pytest.mark.parametrize(("size", "stage"), [(32, 3), (28, 3), (16, 2), (4, 0), (2, 0)])
def test_heat_is_of_the_last_map_that_can_tell_where(weights, size, stage):
    path, net = weights
    x = torch.randn(3, size, size, generator=torch.Generator().manual_seed(size))
    maps = gradcam(net, net.stages[stage], x[None], lambda out: out[:, 1])
    assert maps.shape[1] == -(-size // 2**stage)
    torch.testing.assert_close(load_classifier(path).heat(x, 1), spread(maps, (size, size))[0])


def test_what_is_no_classifier_is_refused(weights, images, tmp_path):
    backbone = dataclasses.replace(NET, classes=0)
    export_weights(tmp_path / "b.safetensors", backbone.build(), backbone, {})
    with pytest.raises(BadInput, match="backbone without a head"):
        load_classifier(tmp_path / "b.safetensors")
    with pytest.raises(BadInput, match="no classifier of images"):
        load_classifier(__import__("pathlib").Path("mmnist_compact"))
    (tmp_path / "names.txt").write_text("a\nb\n")
    with pytest.raises(BadInput, match=r"has 2 names, .* 3 classes apart"):
        load_classifier(weights[0], names=tmp_path / "names.txt")
    with pytest.raises(BadInput, match="top: expected at least 1"):
        list(load_classifier(weights[0])([images], top=0))
    bare = dataclasses.replace(NET, size=64)
    export_weights(tmp_path / "c.safetensors", bare.build(), bare, {})  # as `convert` writes them
    assert load_classifier(tmp_path / "c.safetensors").classes == ("class 0", "class 1", "class 2")


def test_weights_of_another_size_or_other_channels_are_refused(weights, tmp_path):
    wider = dataclasses.replace(NET, widths=(16, 8, 8, 8))
    export_weights(tmp_path / "w2.safetensors", weights[1], wider, ABOUT)
    with pytest.raises(BadInput, match=r"w2.safetensors: not a checkpoint of this MogaNet: stages.0.embed.0.weight"):
        load_classifier(tmp_path / "w2.safetensors")
    five = dataclasses.replace(NET, channels=5)
    export_weights(tmp_path / "five.safetensors", five.build(), five, ABOUT)
    with pytest.raises(BadInput, match=r"five.safetensors: takes 5 channels; images of files have 1 \(grey\) or 3"):
        load_classifier(tmp_path / "five.safetensors")


def test_gradcam_is_its_definition():
    """A linear network whose gradient is known: a map's channel c is weighted by the mean of its weights."""
    torch.manual_seed(0)
    conv, head = nn.Conv2d(1, 4, 1), nn.Linear(4 * 6, 2)
    net = nn.Sequential(conv, nn.Flatten(), head)
    x = torch.randn(3, 1, 2, 3)
    maps = gradcam(net, conv, x, lambda out: out[:, 1])
    weights = head.weight[1].view(4, 6).mean(1)
    slow = torch.stack([sum(weights[c] * conv(x)[i, c] for c in range(4)).clamp(min=0) for i in range(3)])  # type: ignore[union-attr]
    torch.testing.assert_close(maps, slow / slow.amax((1, 2), keepdim=True).clamp(min=1e-30))
    assert all(p.grad is None for p in net.parameters())
    assert spread(maps, (8, 9)).shape == (3, 8, 9)
    nothing = gradcam(net, conv, torch.zeros(1, 1, 2, 3), lambda out: 0 * out[:, 0])
    assert torch.equal(nothing, torch.zeros(1, 2, 3))


def test_gradcam_points_at_what_raises_the_score():
    """A video model and a lifter have maps too: here one that looks at a place of a clip (b, t, c, h, w)."""

    class Clip(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 1)

        def forward(self, clip):
            return self.conv(clip.flatten(0, 1)).unflatten(0, clip.shape[:2])

    net = Clip()
    nn.init.ones_(net.conv.weight)
    nn.init.zeros_(net.conv.bias)  # type: ignore[arg-type]
    clip = torch.zeros(1, 3, 1, 4, 5)
    clip[0, 1, 0, 2, 3] = 1.0
    maps = gradcam(net, net.conv, clip, lambda out: out.sum((1, 2, 3, 4)))
    assert maps.shape == (3, 4, 5)
    assert maps.flatten().argmax() == 1 * 20 + 2 * 5 + 3
    assert maps.sum() == 1
