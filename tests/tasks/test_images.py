import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from moga_st.data.augment import MixConfig, ShiftConfig, TimmAugmentConfig
from moga_st.data.images import FolderConfig, MNISTImagesConfig
from moga_st.engine import RunConfig, Runtime, train
from moga_st.errors import BadInput
from moga_st.models.moganet import MogaNetConfig
from moga_st.optim import OptimConfig
from moga_st.pretrained import load_model
from moga_st.tasks.images import Classification, ClassificationConfig
from moga_st.tasks.task import Setting
from tests.data.test_images import folder, idx_set

NET = MogaNetConfig((8, 8, 8, 8), (1, 1, 1, 1), (2.0, 2.0, 2.0, 2.0), stem_stride=1)


def small(**changes) -> ClassificationConfig:
    config = ClassificationConfig(data=MNISTImagesConfig(), augment=ShiftConfig(1, erase=2), size=None, eval_batch=4)
    return dataclasses.replace(config, **changes)


def build(config: ClassificationConfig, root: Path, **setting) -> Classification:
    return config.build(Setting(torch.device("cpu"), root, **{"batch_size": 8, **setting}))


@pytest.fixture
def root(tmp_path):
    idx_set(tmp_path, train=60, test=23)
    return tmp_path


def test_batches_cover_every_image_once_an_epoch_and_belong_to_their_number(root):
    task = build(small(mix=MixConfig(0.5, 1.0)), root, batch_size=11)
    seen = torch.cat([task.fetch(i)["numbers"] for i in range(10)])
    assert len(task.images.parts["train"]) == 55
    for epoch in seen.view(2, 55):
        assert sorted(epoch.tolist()) == list(range(55))
    assert not torch.equal(seen[:55], seen[55:])
    again = build(small(mix=MixConfig(0.5, 1.0)), root, batch_size=11)
    for i in (7, 2):
        for a, b in zip(
            task.batch(torch.tensor(i), task.fetch(i)), again.batch(torch.tensor(i), again.fetch(i)), strict=True
        ):
            assert torch.equal(a, b)
    x, y = task.batch(torch.tensor(0), task.fetch(0))
    assert x.shape == (11, 1, 6, 6)
    torch.testing.assert_close(y.sum(1), torch.ones(11))
    assert task.spec.shape == (1, 6, 6)
    assert task.spec.target == (10,)


def test_training_pixels_have_mean_0_and_deviation_1(root):
    task = build(small(), root)
    x = task._normalised(task.pixels["train"])
    assert abs(x.mean()) < 1e-3
    assert abs(x.std(unbiased=False) - 1) < 1e-3


class Oracle(nn.Module):
    """Says what it is told for every image, by its grey value; the class is the value / 20."""

    def __init__(self, task: Classification, told: dict[int, int]):
        super().__init__()
        self.task, self.told = task, told

    def forward(self, x):
        value = x.mean((1, 2, 3)) * self.task._std.item() + self.task._mean.item()
        labels = (value * 255 / 20).round().long()
        said = torch.tensor([self.told.get(int(k), int(k)) for k in labels])
        return F.one_hot(said, 10).float() * 5 - 0.1 * torch.arange(10)  # ties go to the first classes


def test_scores_are_those_of_the_slow_count(root):
    task = build(small(), root)
    scores = task.evaluate(Oracle(task, {3: 4, 8: 0}), "test")
    labels = task.images.parts["test"].labels  # 0 to 9, 0 to 9, 0, 1, 2
    said = np.array([{3: 4, 8: 0}.get(k, k) for k in labels])
    assert scores["top1"] == pytest.approx(100 * (said == labels).mean())
    assert scores["error"] == pytest.approx(100 - scores["top1"])
    # the five highest are the one said and the first four others: of those wrongly said, 3 is among them and 8 is not
    assert scores["top5"] == pytest.approx(100 * (labels != 8).mean())
    by = scores.model.by["class"]["top1"]
    assert by == {str(k): (0.0 if k in (3, 8) else 100.0) for k in range(10)}
    logits = F.one_hot(torch.from_numpy(said), 10).float() * 5 - 0.1 * torch.arange(10)
    assert scores["loss"] == pytest.approx(F.cross_entropy(logits, torch.from_numpy(labels)).item(), rel=1e-5)
    constant = scores.baselines["most frequent class"]
    frequent = np.bincount(task.images.parts["train"].labels).argmax()
    assert constant["top1"] == pytest.approx(100 * (labels == frequent).mean())


def test_losses(root):
    task = build(small(smoothing=0.2), root)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 10))
    x, y = batch = task.batch(torch.tensor(3), task.fetch(3))
    labels = task.labels["train"][task.fetch(3)["numbers"]]
    slow = F.cross_entropy(net(x), labels, label_smoothing=0.2)
    torch.testing.assert_close(task.loss(net, batch, torch.tensor(3)), slow)
    task = build(small(loss="bce", smoothing=0.2, mix=MixConfig(cutmix=1.0)), root)
    x, y = batch = task.batch(torch.tensor(3), task.fetch(3))
    slow = -(torch.where(y > 0.2, F.logsigmoid(net(x)), F.logsigmoid(-net(x)))).mean()
    torch.testing.assert_close(task.loss(net, batch, torch.tensor(3)), slow)


def test_precise_statistics_are_those_of_the_batches(root):
    task = build(small(precise_bn=3), root)
    net = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.9), nn.Flatten(), nn.Linear(36, 10)).train()
    task.evaluate(net)
    batches = [task.batch(torch.tensor(i), task.fetch(i))[0] for i in range(3)]
    norm = net[0]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.running_mean.item() == pytest.approx(np.mean([x.mean().item() for x in batches]), abs=1e-6)
    assert norm.running_var.item() == pytest.approx(np.mean([x.var().item() for x in batches]), rel=1e-5)
    assert norm.momentum == 0.1
    assert norm.training


def test_what_does_not_fit_is_refused(root):
    for config, message in (
        (lambda: small(size=4), "size: expected at least 8"),
        (lambda: small(crop=0.0), "expected crop"),
        (lambda: small(eval_batch=0), "eval_batch"),
        (lambda: build(small(augment=TimmAugmentConfig()), root), "shift is for images of one size"),
        (lambda: build(small(size=32), root), "shift is for images of one size"),
        (lambda: NET.fit(dataclasses.replace(build(small(), root).spec, shape=(2, 1, 6, 6))), "takes images"),
        (lambda: dataclasses.replace(NET, classes=3).fit(build(small(), root).spec), "the model has 3, the data 10"),
    ):
        with pytest.raises(BadInput, match=message):
            config()
    folder(root / "f", {"a": 30, "b": 30})
    with pytest.raises(BadInput, match="null is for sets whose images have one size"):
        build(small(data=FolderConfig(Path("f"))), root)
    with pytest.raises(BadInput, match="the data have 10 classes"):
        build(small(), root).evaluate(nn.Sequential(nn.Flatten(), nn.Linear(36, 7)))


def run_config(task: ClassificationConfig, **changes) -> RunConfig:
    run = RunConfig(
        name="tiny_images",
        task=task,
        model=dataclasses.replace(NET, drop_path=0.1),
        optim=OptimConfig(algorithm="adamw", lr=1e-2, schedule="cosine", min_lr=1e-4, ema_decay=0.8),
        steps=6,
        batch_size=8,
        validate_every=3,
    )
    return dataclasses.replace(run, **changes)


def test_a_run_goes_on_to_the_bit_and_its_weights_know_their_classes(root, tmp_path):
    config = run_config(small(mix=MixConfig(0.5, 1.0), precise_bn=2))
    whole = train(config, Runtime(device="cpu", data_root=root, runs=tmp_path / "a"))
    train(dataclasses.replace(config), Runtime(device="cpu", data_root=root, runs=tmp_path / "a"))
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "val/top1" in line] == [3, 6]
    net = load_model(whole)
    assert net(torch.zeros(2, 1, 6, 6)).shape == (2, 10)
    task = build(config.task, root)  # type: ignore[arg-type]
    paths = [p for e in task.examples(net) for p in e.save(tmp_path / "pictures" / e.name)]
    assert [p.name for p in paths] == ["best.png", "median.png", "worst.png"]


def test_a_folder_trains_through_timms_transforms_in_other_processes(tmp_path):
    pytest.importorskip("timm")
    folder(tmp_path / "f", {"a": 20, "b": 20})
    task = build(
        ClassificationConfig(
            data=FolderConfig(Path("f"), grey=True), augment=TimmAugmentConfig("3a", 0.3, 0.25), size=16
        ),
        tmp_path,
        batch_size=4,
    )
    before = torch.get_rng_state()
    fetched = task.fetch(1)
    assert torch.equal(torch.get_rng_state(), before)  # the training's own
    x, y = task.batch(torch.tensor(1), fetched)
    assert x.shape == (4, 1, 16, 16)
    assert y.shape == (4, 2)
    again = task.fetch(1)
    assert torch.equal(again["images"], fetched["images"])
    assert task.augment is not None
    task.augment.close()
    scores = task.evaluate(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2)))
    assert 0 <= scores["top1"] <= 100
