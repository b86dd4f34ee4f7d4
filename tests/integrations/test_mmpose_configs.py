"""Every config under experiments/mmpose trains, saves, resumes and evaluates through mmpose's own Runner, on small data
in the layouts of COCO and Human3.6M; and data and metrics of the two packages against each other."""
# pyright: reportMissingImports=false

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from moga_st import recipes
from moga_st.data.pose import human36m
from moga_st.data.pose.generated import generate_clip
from moga_st.data.pose.generated_motions import FPS
from moga_st.data.pose.mocap import TEST_SUBJECTS, VAL_SUBJECTS
from moga_st.data.pose.prepared_poses import MotionClip, View, read_clips, write_poses
from moga_st.data.pose.skeleton import COCO17
from moga_st.data.pose.sources import CMUConfig, GeneratedConfig
from moga_st.data.pose.virtual_cameras import virtual_cameras
from moga_st.errors import BadInput
from moga_st.integrations.mmpose_lifters import MMPoseDSTFormerConfig, MMPoseSimpleBaselineConfig, MMPoseTCNConfig
from moga_st.metrics import pose as metrics
from moga_st.models.lifter import LifterConfig
from moga_st.tasks.pose import PoseConfig
from moga_st.tasks.task import Setting
from tests.data.pose.test_human36m import write_mmpose
from tests.integrations.runner import run
from tests.integrations.test_mmpose import needs_mmpose

# mmengine and mmpose warn of what they themselves use
pytestmark = [needs_mmpose, pytest.mark.filterwarnings("ignore")]
FOLDER = recipes.FOLDER / "mmpose"
COCO = sorted(p.stem for p in FOLDER.glob("td-hm*.py"))
LIFTING = sorted(p.stem for p in FOLDER.glob("*lifter*.py"))


def test_the_cmu_config_has_the_people_of_the_recipe():
    from mmengine.config import Config

    config = Config.fromfile(FOLDER / "video-pose-lift_moga-lifter-xs-27frm_8xb128-160e_cmu.py")
    assert config.train_dataloader.dataset.without_subjects == [*TEST_SUBJECTS, *VAL_SUBJECTS]
    assert config.val_dataloader.dataset.subjects == list(VAL_SUBJECTS)
    assert config.test_dataloader.dataset.subjects == list(TEST_SUBJECTS)


def test_the_configs_are_there_and_no_recipes():
    sizes = {f"td-hm_moganet-{a}_8xb32-210e_coco-{s}" for a in ("xt", "t", "s", "b") for s in ("256x192", "384x288")}
    assert set(COCO) == sizes
    assert {name[-4:] for name in LIFTING} == {"h36m", "_cmu"}
    assert not {"mmpose", *COCO, *LIFTING} & set(recipes.names())
    assert len(COCO) + len(LIFTING) == len(list(FOLDER.glob("*.py")))


# --- data in the layouts of COCO and Human3.6M


@pytest.fixture(scope="module")
def coco(tmp_path_factory) -> Path:
    """Two images with two people each, noise with points in it, once to train and once to validate on."""
    import cv2

    root, rng = tmp_path_factory.mktemp("coco"), np.random.default_rng(0)
    (root / "annotations").mkdir()
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.joints), "skeleton": []}
    for split in ("train2017", "val2017"):
        (root / split).mkdir()
        images, people = [], []
        for i in range(2):
            cv2.imwrite(str(root / split / f"{i}.jpg"), rng.integers(0, 255, (120, 160, 3), dtype=np.uint8))
            images.append({"id": i, "file_name": f"{i}.jpg", "width": 160, "height": 120})
            for j in range(2):
                x, y, w, h = 20 + 60 * j, 10, 50, 100
                points = np.stack([rng.uniform(x, x + w, 17), rng.uniform(y, y + h, 17), np.full(17, 2)], -1)
                person = {"id": len(people) + 1, "image_id": i, "category_id": 1, "iscrowd": 0, "num_keypoints": 17}
                people.append(person | {"bbox": [x, y, w, h], "area": w * h, "keypoints": points.ravel().tolist()})
        content = {"images": images, "annotations": people, "categories": [category]}
        (root / "annotations" / f"person_keypoints_{split}.json").write_text(json.dumps(content))
    boxes = [{"image_id": p["image_id"], "category_id": 1, "bbox": p["bbox"], "score": 0.9} for p in people]
    (root / "person_detection_results").mkdir()
    name = "COCO_val2017_detections_AP_H_56_person.json"
    (root / "person_detection_results" / name).write_text(json.dumps(boxes))
    return root


@pytest.fixture(scope="module")
def h36m(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("h36m")
    splits = {"train": [("S1", "Directions_1", 250)], "test": [("S9", "Walking", 243), ("S11", "Photo", 245)]}
    write_mmpose(root, step=1, splits=splits)
    return root


@pytest.fixture(scope="module")
def cmu(tmp_path_factory) -> Path:
    """A prepared file: generated motion under the names of CMU's subjects."""
    root = tmp_path_factory.mktemp("cmu")

    def clips():
        takes = [("S02", "walk", 40), ("S08", "jump", 31), ("S05", "walk", 30), ("S07", "some_long. action", 12)]
        takes += [(subject, "turn", 5) for subject in (*VAL_SUBJECTS[1:], *TEST_SUBJECTS[2:])]
        for number, (subject, action, frames) in enumerate(takes):
            world_m = generate_clip(number, "walk", 0, frames)
            cameras = virtual_cameras(subject, torch.from_numpy(world_m))
            noise = np.random.default_rng(number).normal(0, 3, (frames, 17, 3)).astype(np.float32)
            views = {f"virtual{i}": View(cameras[i], keypoints={"net": 500 + noise}) for i in range(2)}
            yield MotionClip(f"{subject}/01", subject, action, FPS, world_m, views)

    write_poses(root / "cmu-mocap.h5", clips(), "a test", "none")
    return root


def steps(name: str) -> int:
    """Training steps an epoch: one where the network is large."""
    return 1 if "-s_" in name or "-b_" in name else 2


def small(name: str, root: Path, folder: Path, size: tuple[int, int] = (32, 64)) -> Any:
    """A config as it is, but for the data's place and amount, and, of images, the size; COCO's rule is 1/32."""
    from mmengine.config import Config

    import moga_st.integrations.mmpose  # noqa: F401

    config = Config.fromfile(FOLDER / f"{name}.py")
    if name in COCO:
        _replace(config, {"input_size": size, "heatmap_size": (size[0] // 4, size[1] // 4)})
        config.model.backbone.init_cfg = None  # published weights, from the net
    for split in ("train", "val", "test"):
        loader = config[f"{split}_dataloader"]
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        loader.dataset.data_root = f"{root}/"
        loader.dataset.indices = 2 * steps(name)
    if name in COCO:
        for loader in (config.val_dataloader, config.test_dataloader):
            boxes = Path(loader.dataset.bbox_file)
            loader.dataset.bbox_file = str(root / boxes.relative_to("data/coco"))
        for evaluator in (config.val_evaluator, config.test_evaluator):
            evaluator.ann_file = str(root / Path(evaluator.ann_file).relative_to("data/coco"))
    config.work_dir, config.log_level = str(folder), "ERROR"
    config.randomness = {"seed": 0}
    config.train_cfg.update(max_epochs=1, val_interval=1)
    config.default_hooks.checkpoint.update(interval=1, save_best=None)  # a second copy of every file
    return config


def _replace(node: Any, values: dict[str, Any]) -> None:
    """Put ``values`` under their names wherever these stand."""
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        _replace(child, values)
    if isinstance(node, dict):
        node.update({k: v for k, v in values.items() if k in node})


def predictions(runner: Any) -> np.ndarray:
    """Keypoints of the first validation batch."""
    runner.model.eval()
    with torch.no_grad():
        samples = runner.model.val_step(next(iter(runner.val_dataloader)))
    return np.concatenate([np.asarray(s.pred_instances.keypoints) for s in samples])


# --- the configs


@pytest.mark.parametrize("name", COCO)
def test_heatmaps_are_a_quarter_of_the_image(name: str):
    """At the config's true size, without computing: on the meta device."""
    from mmengine.config import Config
    from mmpose.registry import MODELS

    config = Config.fromfile(FOLDER / f"{name}.py")
    height, width = map(int, name[-7:].split("x"))
    assert config.codec.input_size == (width, height)
    assert config.codec.heatmap_size == (width // 4, height // 4)
    decoders = [config.model.head.decoder, config.train_dataloader.dataset.pipeline[-2].encoder]
    affine = [config[f"{s}_dataloader"].dataset.pipeline[-i].input_size for s, i in (("train", 3), ("val", 2))]
    assert all(d == config.codec for d in decoders)
    assert affine == [(width, height)] * 2
    assert config.test_dataloader == config.val_dataloader
    config.model.data_preprocessor = None
    with torch.device("meta"):
        net = MODELS.build(config.model)
        heatmaps = net(torch.zeros(1, 3, height, width), None, mode="tensor")
    assert heatmaps.shape == (1, 17, height // 4, width // 4)


@pytest.mark.parametrize("name", [*COCO, *LIFTING])
def test_a_config_trains_saves_resumes_and_evaluates(name: str, request, tmp_path):
    data = "coco" if name in COCO else "cmu" if name.endswith("cmu") else "h36m"
    config = small(name, request.getfixturevalue(data), tmp_path)
    first = run(config)
    before = copy.deepcopy(first.model.state_dict())
    first.train()
    assert (first.epoch, first.iter) == (1, steps(name))
    moved = [k for k, v in first.model.state_dict().items() if not torch.equal(v, before[k])]
    assert any(k.startswith("backbone.") and "running" not in k for k in moved)
    assert any(k.startswith("head.") and "running" not in k for k in moved)

    config.resume = True
    config.train_cfg.max_epochs = 2
    second = run(config)
    second.load_or_resume()
    assert (second.epoch, second.iter) == (1, steps(name))
    resumed = second.model.state_dict()
    assert all(torch.equal(resumed[key], value) for key, value in first.model.state_dict().items())
    old, new = (r.optim_wrapper.state_dict()["state"] for r in (first, second))
    assert old.keys() == new.keys()
    assert all(torch.equal(old[i]["exp_avg_sq"], new[i]["exp_avg_sq"]) for i in old)
    second.train()
    assert (second.epoch, second.iter) == (2, 2 * steps(name))

    config.resume = False
    config.load_from = str(tmp_path / "epoch_2.pth")
    third = run(config)
    scores = third.test()
    main = "coco/AP" if name in COCO else "MPJPE"
    assert np.isfinite(scores[main])
    np.testing.assert_array_equal(predictions(third), predictions(second))
    if data == "h36m":  # validation and test are the same data
        val = second.message_hub.get_scalar("val/MPJPE").current()
        assert scores["MPJPE"] == pytest.approx(val, rel=1e-6)


def test_published_weights_that_cannot_be_had_are_named(coco, tmp_path):
    config = small("td-hm_moganet-xt_8xb32-210e_coco-256x192", coco, tmp_path)
    missing = tmp_path / "moganet_xtiny_sz224_8xbs128_ep300.pth.tar"
    config.model.backbone.init_cfg = {"type": "Pretrained", "checkpoint": str(missing)}
    with pytest.raises(BadInput, match=rf"{missing.name}: .*fetch it .* checkpoint="):
        run(config).train()


# --- our data in mmpose, and mmpose's in ours


def dataset(root: Path, **config: Any) -> Any:
    from mmengine.registry import init_default_scope
    from mmpose.registry import DATASETS

    import moga_st.integrations.mmpose  # noqa: F401

    init_default_scope("mmpose")
    return DATASETS.build({"type": "MogaPreparedDataset", "ann_file": "cmu-mocap.h5", "data_root": str(root), **config})


CODEC = {"type": "VideoPoseLifting", "num_keypoints": 17, "zero_center": True, "root_index": 0}
PIPELINE = [
    {"type": "GenerateTarget", "encoder": {**CODEC, "reshape_keypoints": False, "concat_vis": True}},
    {"type": "PackPoseInputs", "meta_keys": ("id", "target_img_path", "camera_param")},
]


@pytest.mark.parametrize("keypoints", ["gt", "net"])
def test_windows_and_targets_are_those_of_our_own_task(cmu, keypoints: str):
    task = PoseConfig(data=CMUConfig(), keypoints=keypoints, confidence=True, frames=9).build(
        Setting(torch.device("cpu"), cmu)
    )
    test = task.splits["test"]
    data = dataset(
        cmu,
        subjects=TEST_SUBJECTS,
        keypoints=keypoints,
        seq_len=9,
        causal=False,
        pad_video_seq=True,
        pipeline=PIPELINE,
        test_mode=True,
    )
    assert len(data) == len(test.first) == 2 * (30 + 12 + 3 * 5)
    centre = torch.arange(len(test.first))
    rows = test.rows(centre, centre, task.config.frames)
    inputs, targets = test.keypoints[rows], test.target[rows]
    for i in range(len(data)):  # both in the order of clips, then views, then frames
        sample = data[i]
        np.testing.assert_allclose(sample["inputs"], inputs[i], atol=1e-6)
        label = sample["data_samples"].gt_instance_labels.lifting_target_label
        np.testing.assert_allclose(label, targets[i, 4:5], atol=1e-6)
    names = [data[i]["data_samples"].target_img_path[0] for i in (0, 2 * (30 + 12) - 1)]
    assert names == ["S05_walk_2.virtual0_000000.jpg", "S07_some-long-action_3.virtual1_000011.jpg"]


def test_the_motionbert_codec_sees_the_same_poses(cmu):
    """Pixels and metres through the camera that the data set hands on: its own projection gives the keypoints."""
    from mmpose.codecs.utils import camera_to_image_coord

    data = dataset(cmu, subjects=["S02"], multiple_target=27, multiple_target_step=9)
    clip = next(read_clips(cmu / "cmu-mocap.h5", ["S02"]))
    assert len(data) == 2 * 2  # two cameras, of 40 frames: 0 to 26 and 9 to 35
    assert clip.world_m is not None
    for i, (view, start) in enumerate((v, s) for v in clip.views for s in (0, 9)):
        info = data.get_data_info(i)
        rows = slice(start, start + 27)
        np.testing.assert_array_equal(info["lifting_target"], clip.camera_m(view)[rows])
        np.testing.assert_array_equal(info["keypoints"], clip.keypoints(view, "gt")[rows])
        image, _ = camera_to_image_coord(0, info["lifting_target"].astype(np.float64), info["camera_param"])
        np.testing.assert_allclose(image[..., :2] * 1000, info["keypoints"], atol=1e-3)
        rotation, place = info["camera_param"]["R"], info["camera_param"]["T"]
        world = info["lifting_target"] @ rotation.T + place[:, 0]
        np.testing.assert_allclose(world, clip.world_m[rows], atol=1e-5)


def test_subjects_are_chosen_and_left_out(cmu):
    def subjects(**config: Any) -> set[str]:
        return {name.split("_")[0] for name in dataset(cmu, lazy_init=True, **config).ann_data["imgname"].tolist()}

    assert subjects() == {"S02", *VAL_SUBJECTS, *TEST_SUBJECTS}
    assert subjects(without_subjects=TEST_SUBJECTS) == {"S02", *VAL_SUBJECTS}
    assert subjects(subjects=["S02", "S05"], without_subjects=["S05"]) == {"S02"}
    with pytest.raises(BadInput, match="no subject 'S99'"):
        dataset(cmu, subjects=["S99"])
    with pytest.raises(BadInput, match="no subject 'S6'"):
        dataset(cmu, without_subjects=["S6"])
    with pytest.raises(BadInput, match=r"no subject is left of S02"):
        dataset(cmu, subjects=["S02"], without_subjects=["S02"])
    with pytest.raises(BadInput, match="no 2D keypoints 'cpn'"):
        dataset(cmu, keypoints="cpn")
    with pytest.raises(TypeError, match="seqlen"):
        dataset(cmu, seqlen=3)


def test_mmposes_human36m_is_ours(h36m, tmp_path):
    """mmpose's files read by its own Human36mDataset, and by ours after `data prepare`: the same numbers."""
    from mmpose.registry import DATASETS

    human36m.prepare(h36m, tmp_path / "h36m.h5")
    ours = {clip.name: clip for clip in read_clips(tmp_path / "h36m.h5", ["S9", "S11"])}
    common = {"seq_len": 1, "data_root": str(h36m)}
    annotations = "annotation_body3d/fps50/h36m_test.npz"
    cameras = "annotation_body3d/cameras.pkl"
    theirs = DATASETS.build(
        {"type": "Human36mDataset", "ann_file": annotations, "camera_param_file": cameras, **common}
    )
    assert len(theirs) == 4 * (243 + 245)
    again = dataset(tmp_path, ann_file="h36m.h5", subjects=["S9", "S11"])
    infos = [again.get_data_info(i) for i in range(len(again))]
    in_ours = {_subject_camera_frame(info): info for info in infos}
    for i in range(0, len(theirs), 7):
        info = theirs.get_data_info(i)
        path = Path(info["target_img_path"][0]).name
        subject, take = path.split(".")[0].split("_", 1)
        name, frame = path.split(".")[1].split("_")
        clip, row = ours[f"{subject}/{take}"], int(frame) - 1
        np.testing.assert_array_equal(info["lifting_target"][0], clip.camera_m(name)[row])
        np.testing.assert_array_equal(info["keypoints"][0], clip.keypoints(name, "gt")[row])
        twin = in_ours[subject, name, row]
        np.testing.assert_array_equal(info["lifting_target"], twin["lifting_target"])
        np.testing.assert_array_equal(info["keypoints"], twin["keypoints"])
        for key in ("R", "T", "f", "c", "k", "p", "w", "h"):
            np.testing.assert_allclose(info["camera_param"][key], twin["camera_param"][key], atol=1e-12)


def _subject_camera_frame(info: dict) -> tuple[str, str, int]:
    take, rest = info["img_paths"][0].split(".")[:2]
    name, frame = rest.split("_")
    return take.split("_")[0], name, int(frame)


# --- metrics


@pytest.mark.parametrize("mirrored", [False, True])
def test_our_metrics_are_mmposes(mirrored: bool):
    from mmpose.evaluation.functional import keypoint_mpjpe

    rng = np.random.default_rng(0)
    target = rng.normal(size=(50, 17, 3))
    pred = target @ np.linalg.qr(rng.normal(size=(3, 3)))[0] * 1.7 + 0.4 * rng.normal(size=(50, 17, 3)) + 2
    if mirrored:
        pred[..., 0] *= -1
    mask = np.ones((50, 17), bool)
    x, y = torch.from_numpy(pred), torch.from_numpy(target)
    for ours, alignment in ((metrics.mpjpe, "none"), (metrics.p_mpjpe, "procrustes"), (metrics.n_mpjpe, "scale")):
        expected = keypoint_mpjpe(pred, target, mask, alignment)
        assert ours(x, y).mean().item() == pytest.approx(expected, abs=1e-6), alignment


def test_mmposes_runner_and_our_task_give_one_lifter_the_same_scores(cmu, tmp_path):
    """The same weights, people and windows: MPJPE and P-MPJPE of mmpose's Runner and of ``evaluate``."""
    torch.manual_seed(0)
    model = LifterConfig(frames=9, centre_only=True)
    core = model.build().eval()
    config = small("video-pose-lift_moga-lifter-xs-27frm_8xb128-160e_cmu", cmu, tmp_path)
    config.model.backbone.frames = config.test_dataloader.dataset.seq_len = 9
    config.test_dataloader.batch_size = 64
    del config.test_dataloader.dataset["indices"]
    runner = run(config)
    net = runner.model
    net.backbone.lifter.load_state_dict({k: v for k, v in core.state_dict().items() if not k.startswith("head.")})
    assert core.head.bias is not None
    with torch.no_grad():  # our head, a joint at a time, as one matrix of mmpose's
        weight = torch.block_diag(*[core.head.weight[:, :, 0, 0]] * 17)
        net.head.conv.weight.copy_(weight[..., None])
        net.head.conv.bias.copy_(core.head.bias.repeat(17))
    theirs = runner.test()
    setting = Setting(torch.device("cpu"), cmu)
    ours = PoseConfig(data=CMUConfig(), frames=9, flip_test=False).build(setting).evaluate(core, "test")
    assert ours["mpjpe"] > 100
    assert 1000 * theirs["MPJPE"] == pytest.approx(ours["mpjpe"], rel=1e-5)
    assert 1000 * theirs["P-MPJPE"] == pytest.approx(ours["p_mpjpe"], rel=1e-5)
    assert 1000 * theirs["MPJPE_walk"] == pytest.approx(ours.model.by["action"]["mpjpe"]["walk"], rel=1e-5)


# --- mmpose's networks in our task


@pytest.mark.parametrize(
    "model",
    [
        MMPoseSimpleBaselineConfig(width=32, dropout=0.0),
        MMPoseTCNConfig(frames=9, width=32, dropout=0.0),
        MMPoseDSTFormerConfig(frames=9, channels=2, width=16, depth=1, heads=2, head_width=16),
    ],
)
def test_baselines_train_and_evaluate_in_our_task(model: Any, tmp_path):
    torch.manual_seed(0)
    task = PoseConfig(data=GeneratedConfig(frames=20), frames=model.frames, val_clips=2).build(
        Setting(torch.device("cpu"), tmp_path, batch_size=32)
    )
    net = model.build()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    before = task.evaluate(net)
    for step in range(40):
        optimizer.zero_grad()
        task.loss(net, task.batch(torch.tensor(step)), torch.tensor(step)).backward()
        optimizer.step()
    after = task.evaluate(net)
    assert after["mpjpe"] < 0.8 * before["mpjpe"]
    assert after.baselines == before.baselines
    assert {"p_mpjpe", "n_mpjpe", "mpjve"} <= after.model.means.keys()
