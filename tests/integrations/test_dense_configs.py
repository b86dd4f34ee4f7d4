"""The configs under experiments/mmdet and experiments/mmseg: sizes as published, and each method trains, saves, resumes
and evaluates through its own Runner, on small data in the layouts of COCO and ADE20K."""
# pyright: reportMissingImports=false

import contextlib
import copy
import functools
import importlib
import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from moga_st import recipes
from moga_st.convert import publish
from moga_st.integrations import mmcv_operators
from moga_st.models.moganet import SIZES
from tests.integrations.runner import run

pytestmark = pytest.mark.filterwarnings("ignore")  # mmengine and its family warn of what they themselves use
needs_family = pytest.mark.skipif(
    importlib.util.find_spec("mmdet") is None or importlib.util.find_spec("mmseg") is None,
    reason="mmdet and mmseg are not installed: pip install 'moga-st[mmpose]'",
)
DETECTORS = sorted(p.stem for p in (recipes.FOLDER / "mmdet").glob("*.py"))
SEGMENTORS = sorted(p.stem for p in (recipes.FOLDER / "mmseg").glob("*.py"))
METHODS = ["retinanet", "mask-rcnn", "mask-rcnn_3x", "cascade", "cascade_giou", "fpn", "upernet"]
# published: millions of parameters, thousands of millions of multiply-adds at 1280x800 (2048x512 for ADE20K)
PUBLISHED = {
    "retinanet": {"xt": (12.1, 167.2), "t": (14.4, 173.4), "s": (35.1, 253.0), "b": (53.5, 354.5), "l": (92.4, 476.8)},
    "mask-rcnn": {"xt": (22.8, 185.4), "t": (25.0, 191.7), "s": (45.0, 271.6), "b": (63.4, 373.1), "l": (102.1, 495.3)},
    "fpn": {"xt": (6.9, 101.4), "t": (9.1, 107.8), "s": (29.1, 189.7), "b": (47.5, 293.6), "l": (86.2, 418.7)},
    "upernet": {"xt": (30.4, 855.7), "t": (33.1, 862.4), "s": (55.3, 946.4), "b": (73.7, 1050.4), "l": (113.2, 1176.1)},
}
DROP_PATH = {"xt": 0.05, "t": 0.1, "s": 0.1, "b": 0.2, "l": 0.3}


def method_and_size(name: str) -> tuple[str, str]:
    method, size = name.split("_moganet-")[0], name.split("_moganet-")[1].split("_")[0]
    if method == "cascade-mask-rcnn":
        return "cascade_giou" if "giou" in name else "cascade", size
    return method + ("_3x" if method == "mask-rcnn" and "3x" in name else ""), size


def load(name: str) -> Any:
    return copy.deepcopy(_load(name))


@functools.cache  # reading one with all its bases takes more than a second
def _load(name: str) -> Any:
    from mmengine.config import Config

    config = Config.fromfile(recipes.FOLDER / ("mmdet" if name in DETECTORS else "mmseg") / f"{name}.py")
    config.model.backbone.init_cfg = None  # published weights, from the net
    return config


def build(config: Any) -> Any:
    import mmdet.registry
    import mmseg.registry
    from mmengine.registry import init_default_scope

    from moga_st.integrations import mmdet as detectors
    from moga_st.integrations import mmseg as segmentors

    detectors.register()
    segmentors.register()
    init_default_scope(config.default_scope)
    registry = {"mmdet": mmdet.registry, "mmseg": mmseg.registry}[config.default_scope]
    return registry.MODELS.build(config.model)


def test_the_configs_are_those_that_were_published():
    found = sorted(method_and_size(name) for name in (*DETECTORS, *SEGMENTORS))
    sizes = {m: ["xt", "t", "s", "b", "l"] for m in ("retinanet", "mask-rcnn", "fpn", "upernet")}
    sizes |= {"mask-rcnn_3x": ["t", "s", "b", "l"], "cascade": ["s"], "cascade_giou": ["s", "b", "l"]}
    assert found == sorted((m, s) for m, all_sizes in sizes.items() for s in all_sizes)
    assert not {"mmdet", "mmseg", *DETECTORS, *SEGMENTORS} & set(recipes.names())


@needs_family
@pytest.mark.parametrize("name", [*DETECTORS, *SEGMENTORS])
def test_settings_are_as_published(name: str):
    """Rates, decays, drop path and schedule of every config; neck and heads of the backbone's widths."""
    method, size = method_and_size(name)
    config = load(name)
    optimizer, backbone = config.optim_wrapper.optimizer, config.model.backbone
    small = size in ("xt", "t", "s")
    lr = {"retinanet": 1e-4, "mask-rcnn_3x": 2e-4, "fpn": 2e-4, "upernet": 1e-4}
    assert optimizer.type == "AdamW"
    assert optimizer.lr == lr.get(method, 2e-4 if small else 1e-4)
    assert optimizer.weight_decay == {"fpn": 1e-4, "upernet": 0.01}.get(method, 0.05)
    assert "momentum" not in optimizer
    assert config.optim_wrapper.get("clip_grad") is None
    drop = (0.1 if small else 0.3) if method == "mask-rcnn_3x" else DROP_PATH[size]
    assert (backbone.arch, backbone.drop_path_rate, backbone.double_silu) == (size, drop, False)
    widths = list(SIZES[size].widths)
    if method == "upernet":
        assert config.model.decode_head.in_channels == widths
        assert config.model.auxiliary_head.in_channels == widths[2]
        assert config.train_dataloader.batch_size * 8 == 16
    else:
        assert config.model.neck.in_channels == widths
    if name in SEGMENTORS:
        assert config.train_cfg.max_iters == (80_000 if method == "fpn" else 160_000)
        assert config.train_dataloader.dataset.pipeline[3].crop_size == (512, 512)
        return
    epochs = 36 if "3x" in name else 12
    warm, steps = config.param_scheduler
    assert (config.train_cfg.max_epochs, steps.end) == (epochs, epochs)
    assert steps.milestones == ([27, 33] if epochs == 36 else [8, 11])
    assert warm.end == (1000 if "cascade" in method else 500)
    if method == "retinanet":
        assert (config.model.neck.start_level, config.model.neck.add_extra_convs) == (1, "on_input")
    assert config.train_dataloader.batch_size * 8 == 16


@needs_family
@pytest.mark.parametrize("name", [*DETECTORS, *SEGMENTORS])
def test_every_model_builds_with_the_published_size_and_operations(name: str):
    method, size = method_and_size(name)
    config = load(name)
    with torch.device("meta"):
        net = build(config).eval()
    params = sum(p.numel() for p in net.parameters()) / 1e6
    method = method.removesuffix("_3x")
    if method not in PUBLISHED:  # the same pyramid under more heads
        assert params > PUBLISHED["mask-rcnn"][size][0]
        return
    assert params == pytest.approx(PUBLISHED[method][size][0], rel=0.007)
    shape = (1, 3, 800, 1280) if name in DETECTORS else (1, 3, 512, 2048)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        if name in SEGMENTORS:
            net._forward(torch.empty(shape, device="meta"))
        else:
            features = net.neck(net.backbone(torch.empty(shape, device="meta")))
            (net.bbox_head if method == "retinanet" else net.rpn_head)(features)
    with torch.no_grad(), FlopCounterMode(display=False) as heads:
        if method == "mask-rcnn":  # as mmdet counts: 1,000 regions through the box head, 100 through the mask head
            net.roi_head.bbox_head(torch.empty(1000, 256, 7, 7, device="meta"))
            net.roi_head.mask_head(torch.empty(100, 256, 14, 14, device="meta"))
    macs = (counter.get_total_flops() + heads.get_total_flops()) / 2e9
    # norms and pointwise products are counted there and not here, as for the classifier (models/published.py)
    assert macs == pytest.approx(PUBLISHED[method][size][1], rel=0.025)
    called = {"retinanet": "RetinaNet", "mask-rcnn": "Mask R-CNN", "fpn": "Semantic FPN", "upernet": "UperNet"}[method]
    published_params, published_macs = PUBLISHED[method][size]
    told = f"{params:.2f} ({published_params}) | {macs:.1f} ({published_macs})"
    assert f"| {called} | {size.upper()} | {told} |" in (recipes.FOLDER / "README.md").read_text()


# --- made data


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Four images with two bright squares each, as COCO has them (with all its classes) and as ADE20K has them."""
    build(load(SMALLEST["retinanet"]))  # mmdet can be imported after that
    root, rng = tmp_path_factory.mktemp("dense"), np.random.default_rng(0)
    names = importlib.import_module("mmdet.datasets").CocoDataset.METAINFO["classes"]
    categories = [{"id": i, "name": name} for i, name in enumerate(names, 1)]
    for split, ade in (("train2017", "training"), ("val2017", "validation")):
        for folder in (split, f"images/{ade}", f"annotations/{ade}"):
            (root / folder).mkdir(parents=True)
        images, objects = [], []
        for i in range(4):
            pixels, classes = rng.integers(0, 80, (96, 96, 3), np.uint8), np.ones((96, 96), np.uint8)
            for j, category in enumerate((1, 3)):  # a person and a car
                x, y = 4 + 46 * j, int(rng.integers(4, 40))
                pixels[y : y + 40, x : x + 40, j] += 150
                classes[y : y + 40, x : x + 40] = category
                corners = [[x, y, x + 40, y, x + 40, y + 40, x, y + 40]]
                one = {"id": len(objects) + 1, "image_id": i, "category_id": category, "iscrowd": 0, "area": 1600}
                objects.append(one | {"bbox": [x, y, 40, 40], "segmentation": corners})
            Image.fromarray(pixels).save(root / split / f"{i}.png")
            Image.fromarray(pixels).save(root / "images" / ade / f"{i}.jpg")
            Image.fromarray(classes).save(root / "annotations" / ade / f"{i}.png")
            images.append({"id": i, "file_name": f"{i}.png", "width": 96, "height": 96})
        content = {"images": images, "annotations": objects, "categories": categories}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root


def small(name: str, root: Path, folder: Path) -> Any:
    """A config as it is, but for the data's place and amount, images of 96 pixels, and two updates."""
    config = load(name)
    _shrink(config._cfg_dict)
    for split in ("train", "val", "test"):
        loader = config[f"{split}_dataloader"]
        loader.update(batch_size=2 if split == "train" else 1, num_workers=0, persistent_workers=False)
        loader.dataset.data_root = f"{root}/"
        loader.dataset.indices = 4
    for part in ("val_evaluator", "test_evaluator"):
        if name in DETECTORS:
            config[part].ann_file = str(root / "annotations" / "instances_val2017.json")
    config.work_dir, config.log_level, config.randomness = str(folder), "ERROR", {"seed": 0}
    if name in DETECTORS:
        config.train_cfg.update(max_epochs=1, val_interval=1)
    else:
        config.train_cfg.update(max_iters=2, val_interval=2)
        config.default_hooks.checkpoint.update(interval=2)
    return config


def _shrink(node: Any) -> None:
    """Every resize and crop to 96 pixels; few boxes, each of them kept."""
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        _shrink(child)
    if isinstance(node, dict):
        if "score_thr" in node:  # after two updates nothing is scored high
            node.update(score_thr=0.0)
        few = {"nms_pre": 200, "max_per_img": 20, "num": 32}  # boxes that are proposed, kept and learnt from
        node.update({key: value for key, value in few.items() if key in node})
        if node.get("type") in ("Resize", "RandomResize"):
            node.update(scale=(96, 96))
        if node.get("type") == "RandomChoiceResize":
            node.update(scales=[(96, 96), (112, 112)])
        if node.get("type") == "RandomCrop":
            node.update(crop_size=(96, 96))
        if node.get("type") == "SegDataPreProcessor":
            node.update(size=(96, 96))


SMALLEST = {m: next(n for s in ("xt", "t", "s") for n in (*DETECTORS, *SEGMENTORS) if method_and_size(n) == (m, s))
            for m in METHODS}  # fmt: skip


@needs_family
@pytest.mark.parametrize("method", METHODS)
def test_each_method_trains_saves_resumes_and_evaluates(method: str, data: Path, tmp_path: Path):
    name = SMALLEST[method]
    config = small(name, data, tmp_path)
    build(config)  # so that all is registered
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its table
        torch.manual_seed(0)
        first = run(config)
        before = copy.deepcopy(first.model.state_dict())
        first.train()
        assert first.iter == 2
        after = copy.deepcopy(first.model.state_dict())
        moved = {k.split(".")[0] for k, v in after.items() if not torch.equal(v, before[k]) and "running" not in k}
        parts = {"retinanet": {"neck", "bbox_head"}, "fpn": {"neck", "decode_head"}}
        parts["upernet"] = {"decode_head", "auxiliary_head"}
        assert {"backbone", *parts.get(method, {"neck", "rpn_head", "roi_head"})} <= moved
        _no_decay_on_norms_and_scales(first)
        del first, before  # a cascade's three heads take a gigabyte each time

        config.resume = True
        config.train_cfg.update({"max_epochs": 2} if name in DETECTORS else {"max_iters": 4, "val_interval": 4})
        second = run(config)
        second.load_or_resume()
        assert second.iter == 2
        assert all(torch.equal(v, after[k]) for k, v in second.model.state_dict().items())
        second.train()
        assert second.iter == 4
        del second

        config.resume, config.load_from = False, (tmp_path / "last_checkpoint").read_text()
        scores = run(config).test()
    told = {"retinanet": {"coco/bbox_mAP"}, "fpn": {"mIoU"}, "upernet": {"mIoU"}}
    assert all(0 <= scores[score] <= 100 for score in told.get(method, {"coco/bbox_mAP", "coco/segm_mAP"}))


def _no_decay_on_norms_and_scales(runner: Any) -> None:
    by_id = {id(p): g["weight_decay"] for g in runner.optim_wrapper.param_groups for p in g["params"]}
    decays = {name: by_id[id(p)] for name, p in runner.model.named_parameters()}  # mmengine adds a number of its own
    free = {n.removeprefix("backbone.") for n, decay in decays.items() if decay == 0 and n.startswith("backbone.")}
    expected = {
        n for n, p in runner.model.backbone.named_parameters()
        if n.split(".")[-1] in ("scale1", "scale2", "sigma") or _is_of_a_norm(runner.model.backbone, n)
    }  # fmt: skip
    assert free == expected


def _is_of_a_norm(net: torch.nn.Module, name: str) -> bool:
    return isinstance(net.get_submodule(name.rpartition(".")[0]), torch.nn.modules.batchnorm._BatchNorm)


@needs_family
@pytest.mark.parametrize("method", ["retinanet", "upernet"])
def test_published_detectors_and_segmentors_load_with_their_own_keys(method: str, tmp_path: Path):
    """The backbone's keys as published, under `backbone.`, the rest as mmdet and mmseg name it."""
    from mmengine.runner import load_checkpoint

    torch.manual_seed(1)
    theirs, ours = build(load(SMALLEST[method])), build(load(SMALLEST[method]))
    own = theirs.state_dict()
    backbone = {k.removeprefix("backbone."): v for k, v in own.items() if k.startswith("backbone.")}
    published = publish(backbone, "moganet")
    state = {f"backbone.{k}": v for k, v in published.items()}
    state |= {k: v for k, v in own.items() if not k.startswith("backbone.")}
    assert not state.keys() <= own.keys()
    torch.save({"state_dict": state, "meta": {}}, tmp_path / "published.pth")
    assert not all(torch.equal(v, own[k]) for k, v in ours.state_dict().items())
    load_checkpoint(ours, str(tmp_path / "published.pth"), map_location="cpu", strict=True)
    assert all(torch.equal(v, own[k]) for k, v in ours.state_dict().items())


# --- torchvision's operators in place of mmcv's


def test_boxes_are_suppressed_within_their_class():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [0, 0, 10, 10], [20, 20, 30, 30]])
    scores, classes = torch.tensor([0.8, 0.9, 0.7, 0.6]), torch.tensor([0, 0, 1, 0])
    found, kept = mmcv_operators.batched_nms(boxes, scores, classes, {"type": "nms", "iou_threshold": 0.5})
    assert kept.tolist() == [1, 2, 3]
    assert torch.equal(found, torch.cat([boxes[kept], scores[kept, None]], 1))
    assert mmcv_operators.batched_nms(boxes, scores, classes, {"iou_threshold": 0.5}, True)[1].tolist() == [1, 3]
    assert mmcv_operators.batched_nms(boxes, scores, classes, None)[1].tolist() == [1, 0, 2, 3]
    assert mmcv_operators.nms(boxes, scores, 0.5, score_threshold=0.65)[1].tolist() == [1]
    assert mmcv_operators.nms(boxes, scores, 0.5, max_num=1)[1].tolist() == [1]
    none = mmcv_operators.batched_nms(boxes[:0], scores[:0], classes[:0], {"type": "nms", "iou_threshold": 0.5})
    assert none[0].shape == (0, 5)
    with pytest.raises(NotImplementedError, match="soft_nms needs the compiled mmcv"):
        mmcv_operators.batched_nms(boxes, scores, classes, {"type": "soft_nms"})


def test_regions_are_the_mean_of_what_is_in_them():
    """A linear map: a region's value is that at its centre, half a pixel aside as `aligned` has it."""
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    maps = torch.stack([x, y])[None]
    regions = torch.tensor([[0.0, 8, 8, 24, 40]])
    out = mmcv_operators.RoIAlign(output_size=1, spatial_scale=0.25)(maps, regions)
    assert out.flatten().tolist() == pytest.approx([16 / 4 - 0.5, 24 / 4 - 0.5])
    with pytest.raises(NotImplementedError, match="pool_mode"):
        mmcv_operators.roi_align(maps, regions, 1, pool_mode="max")


def test_focal_loss_is_its_formula():
    torch.manual_seed(0)
    scores, target = torch.randn(5, 3), torch.tensor([0, 2, 3, 1, 3])  # 3 is the background
    share = scores.sigmoid()
    slow = torch.zeros(5, 3)
    for i in range(5):
        for c in range(3):
            p = share[i, c]
            slow[i, c] = -0.25 * (1 - p) ** 2 * p.log() if target[i] == c else -0.75 * p**2 * (1 - p).log()
    torch.testing.assert_close(mmcv_operators.sigmoid_focal_loss(scores, target, reduction="none"), slow)
    torch.testing.assert_close(mmcv_operators.sigmoid_focal_loss(scores, target, reduction="sum"), slow.sum())
