"""From a video through mmpose's 2D inferencer to poses, with real configs and random weights.  Where the extra is not
installed, only what needs none of it can run."""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import urllib.error
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from moga_st import pretrained
from moga_st.data.pose.keypoints import LAYOUT_BY_NAME, read_keypoints
from moga_st.data.video.clips import open_video
from moga_st.errors import BadInput
from moga_st.infer import lift as lifting
from moga_st.integrations import mmpose_2d
from moga_st.integrations.mmcv_operators import batched_nms
from moga_st.integrations.mmpose_2d import PeopleFinder
from moga_st.models.lifter import LifterConfig

needs_mmpose = pytest.mark.skipif(
    importlib.util.find_spec("mmpose") is None, reason="mmpose is not installed: pip install 'moga-st[mmpose]'"
)
# mmpose's parts warn of one another; imageio leaves the pipes of its ffmpeg process to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore")

ROOT = Path(__file__).parents[2]
CONFIG = "td-hm_mobilenetv2_8xb64-210e_coco-256x192"
CPU = torch.device("cpu")
FRAMES = 5


def figure(i: int) -> Image.Image:
    """A person of sticks, who strides, in a noisy image of 144x192: a random network's maxima lie where it is busy."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (192, 144, 3), np.uint8))
    pen = ImageDraw.Draw(image)
    x, swing = 40 + 12 * i, 14 * np.sin(i)
    pen.ellipse((x - 9, 20, x + 9, 38), (220, 180, 150))
    for a, b in (((x, 38), (x, 90)), ((x, 45), (x + swing, 80)), ((x, 45), (x - swing, 80))):
        pen.line([a, b], (200, 40, 40), 9)
    for side in (-1, 1):
        pen.line([(x, 90), (x + side * swing, 145)], (30, 30, 90), 9)
    return image


# --- without mmpose


def slow_nms(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, threshold: float) -> list[int]:
    """The best box goes first and takes with it those of its class that overlap it by more than the threshold."""
    left = sorted(range(len(boxes)), key=lambda i: -scores[i])
    keep = []
    while left:
        best, *left = left
        keep.append(best)

        def overlap(i: int, best: int = best) -> float:
            low, high = np.maximum(boxes[i, :2], boxes[best, :2]), np.minimum(boxes[i, 2:], boxes[best, 2:])
            common = np.prod(np.maximum(high - low, 0))
            areas = [np.prod(boxes[k, 2:] - boxes[k, :2]) for k in (i, best)]
            return float(common / (sum(areas) - common))

        left = [i for i in left if classes[i] != classes[best] or overlap(i) <= threshold]
    return keep


@pytest.mark.parametrize(("class_agnostic", "max_num"), [(False, -1), (True, -1), (False, 4)])
def test_nms_is_that_of_the_slow_version(class_agnostic, max_num):
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 50, (40, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(10, 40, (40, 2))], axis=1)
    scores, classes = rng.permutation(40) / 40, rng.integers(0, 3, 40)
    config = {"type": "nms", "iou_threshold": 0.4, "max_num": max_num, "class_agnostic": class_agnostic}
    given = torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(classes)
    got, keep = batched_nms(*given, config)
    expected = slow_nms(boxes, scores, classes * (not class_agnostic), 0.4)
    expected = expected[:max_num] if max_num > 0 else expected
    assert 3 < len(expected) < 40
    assert keep.tolist() == expected
    np.testing.assert_array_equal(got.numpy(), np.column_stack([boxes, scores])[expected])
    everything, order = batched_nms(*given, None)
    assert order.tolist() == np.argsort(-scores).tolist()
    assert len(everything) == 40


def test_published_weights_that_cannot_be_had_are_named_with_their_place(tmp_path, monkeypatch):
    def offline(*_: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    url = "https://example.org/a/net-1234abcd.pth"
    with pytest.raises(BadInput) as error:
        mmpose_2d._find_weights(None, url, "net", "pose2d_weights")
    for part in (url, "no network", str(tmp_path / "checkpoints" / "net-1234abcd.pth"), "pose2d_weights: "):
        assert part in str(error.value)
    (tmp_path / "checkpoints" / "net-1234abcd.pth").write_bytes(b"")  # put there, it is taken
    assert mmpose_2d._find_weights(None, url, "net", "x") == tmp_path / "checkpoints" / "net-1234abcd.pth"
    with pytest.raises(BadInput, match=r"x: .*gone\.pth: no such file; expected the checkpoint"):
        mmpose_2d._find_weights(tmp_path / "gone.pth", url, "net", "x")
    with pytest.raises(BadInput, match=r"x: no published weights are known for mine\.py; give its checkpoint"):
        mmpose_2d._find_weights(None, None, "mine.py", "x")


# --- with mmpose


def package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def initialised(config: object, dialect: str) -> Any:
    """mmpose's or mmdet's network for a config, by that package's own function, with weights that vary."""
    inferencer, _ = mmpose_2d._import_mmpose()
    assert inferencer is not None
    torch.manual_seed(0)
    init = {"mmpose": "init_model", "mmdet": "init_detector"}[dialect]
    with mmpose_2d._quiet():
        net = getattr(importlib.import_module(f"{dialect}.apis"), init)(config, None, device="cpu")
    if dialect == "mmpose":
        _wake(net)
    return net


def _wake(net: Any) -> None:
    """Give a random network maps with maxima all over the image: statistics of its batch norms from images, and a head
    that is not near 0."""
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean of what comes
    torch.nn.init.normal_(net.head.final_layer.weight, std=0.3)
    images = np.stack([np.asarray(figure(i).resize((192, 256))) for i in range(3)]).transpose(0, 3, 1, 2)
    with torch.no_grad():
        net.head(net.train().backbone((torch.from_numpy(images).float() - 115) / 58))
    net.eval()


@pytest.fixture(scope="module")
def pose_weights(tmp_path_factory):
    """A checkpoint as mmengine's Runner writes it, its own log and numpy arrays beside the weights."""
    folder = package("mmpose") / ".mim" / "configs" / "body_2d_keypoint" / "topdown_heatmap" / "coco"
    net = initialised(str(folder / f"{CONFIG}.py"), "mmpose")
    hub = importlib.import_module("mmengine.logging").MessageHub.get_instance("test")
    hub.update_scalar("train/loss", 1.5)
    hub.update_scalar("train/loss", np.float64(0.5))
    path = tmp_path_factory.mktemp("weights") / "pose.pth"
    meta = {"dataset_meta": net.dataset_meta, "epoch": 3}
    torch.save({"state_dict": net.state_dict(), "meta": meta, "message_hub": hub.state_dict()}, path)
    return path


@pytest.fixture
def video(tmp_path):
    frames = [figure(i) for i in range(FRAMES)]
    frames[0].save(tmp_path / "clip.gif", save_all=True, append_images=frames[1:], duration=40)
    return tmp_path / "clip.gif"


def by_mmpose(pose_weights: Path, video: Path, boxes: list[np.ndarray] | None = None) -> list[np.ndarray]:
    """The keypoints of each frame by mmpose's own functions."""
    folder = package("mmpose") / ".mim" / "configs" / "body_2d_keypoint" / "topdown_heatmap" / "coco"
    apis = importlib.import_module("mmpose.apis")
    with mmpose_2d._quiet():
        net = apis.init_model(str(folder / f"{CONFIG}.py"), str(pose_weights), device="cpu")
        out = []
        for i, frame in enumerate(open_video(video)):
            found = apis.inference_topdown(net, frame[..., ::-1].copy(), None if boxes is None else boxes[i])
            people = [s.pred_instances for s in found]
            out.append(
                np.stack([np.concatenate([p.keypoints[0], p.keypoint_scores[0][:, None]], axis=1) for p in people])
            )
    return out


@needs_mmpose
def test_lift_of_a_video_is_mmposes_keypoints_lifted(pose_weights, video, tmp_path):
    """The command as a process: the file of keypoints holds mmpose's own, and the poses are theirs, lifted."""
    torch.manual_seed(0)
    config = LifterConfig(frames=9, width=8, depth=1)
    pretrained.export_weights(tmp_path / "w.safetensors", config.build(), config, {})
    flags = ["--pose2d", CONFIG, "--pose2d-weights", pose_weights, "--detector", "whole-image"]
    flags += ["--min-confidence", "0", "--no-smooth", "--device", "cpu", "--out", tmp_path / "o", "--json"]
    command = [sys.executable, "-m", "moga_st", "lift", "--space", "root", tmp_path / "w.safetensors", video, *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "finding people" in done.stderr
    result = json.loads(done.stdout)
    assert (result["frames"], result["people"], result["fps"]) == (FRAMES, 1, 25)

    written = json.loads((tmp_path / "o" / "clip_lift_2d.json").read_text())
    assert written["meta_info"] == {"size_px": [144, 192], "fps": 25, "layout": "coco", "found_by": "mmpose"}
    expected = by_mmpose(pose_weights, video)
    assert len(written["instance_info"]) == FRAMES
    for i, frame in enumerate(written["instance_info"]):
        assert frame["frame_id"] == i
        (person,) = frame["instances"]
        np.testing.assert_allclose(person["keypoints"], expected[i][0, :, :2], atol=0.006)
        np.testing.assert_allclose(person["keypoint_scores"], expected[i][0, :, 2], atol=6e-5)
    assert np.ptp(np.concatenate(expected), axis=0).max() > 5  # they are not all the same

    found = read_keypoints(tmp_path / "o" / "clip_lift_2d.json", min_confidence=0.0)
    poses = lifting.lift(pretrained.load_model(tmp_path / "w.safetensors", CPU), found, CPU)
    with np.load(tmp_path / "o" / "clip_person0_3d.npz") as saved:
        np.testing.assert_allclose(saved["poses_m"], lifting.upright(poses), atol=1e-5)
    assert [Path(p).name for p in result["written"]] == [
        "clip_lift_2d.json",
        *(f"clip_person0_3d.{suffix}" for suffix in ("npz", "bvh", "png", "gif", "mp4")),
    ]
    assert len(iio.imread(tmp_path / "o" / "clip_person0_3d.mp4", plugin="FFMPEG")) == FRAMES


@needs_mmpose
def test_a_detectors_boxes_are_used_and_where_there_are_none_there_is_nobody(pose_weights, video, tmp_path):
    folder = package("mmpose") / ".mim" / "demo" / "mmdetection_cfg"
    config = tmp_path / "detector.py"
    base = folder / "rtmdet_nano_320-8xb32_coco-person.py"
    config.write_text(f"_base_ = {str(base)!r}\nmodel = dict(test_cfg=dict(max_per_img=3))\n")
    net = initialised(str(config), "mmdet")
    for bias, someone in ((-9.0, False), (2.0, True)):
        with torch.no_grad():
            for layer in net.bbox_head.rtm_cls:
                layer.weight.normal_(0, 0.01)
                layer.bias.fill_(bias)
        torch.save({"state_dict": net.state_dict(), "meta": {"dataset_meta": net.dataset_meta}}, tmp_path / "det.pth")
        finder = PeopleFinder(CPU, CONFIG, pose_weights, str(config), tmp_path / "det.pth")
        assert finder.layout == "coco"
        frame = next(iter(open_video(video)))
        got = finder(frame)
        with mmpose_2d._quiet():
            answer = importlib.import_module("mmdet.apis").inference_detector(net, frame[..., ::-1].copy())
        boxes = answer.pred_instances.numpy()
        boxes = boxes[(boxes.scores > 0.3) & (boxes.labels == 0)].bboxes
        assert bool(len(boxes)) == someone
        if not someone:
            assert got.shape == (0, 17, 3)
        else:
            expected = by_mmpose(pose_weights, video, [boxes] * FRAMES)[0]
            # mmpose drops boxes that overlap by more than 0.3; each person left is one of those
            assert 1 <= len(got) <= len(boxes)
            for person in got:
                assert np.abs(expected - person).max((1, 2)).min() < 1e-3


@needs_mmpose
def test_checkpoints_load_under_torchs_guard_and_code_does_not(pose_weights, tmp_path):
    loaded = torch.load(pose_weights, weights_only=True)
    assert loaded["message_hub"]["log_scalars"]["train/loss"].mean() == 1.0
    assert loaded["meta"]["dataset_meta"]["sigmas"].shape == (17,)

    class Evil:
        def __reduce__(self) -> tuple:
            return getattr, (dict, "fromkeys")

    class Worse:
        def __reduce__(self) -> tuple:
            return os.system, (f"touch {tmp_path}/it_ran",)

    for bad in (Evil(), Worse()):
        torch.save({"state_dict": {}, "meta": bad}, tmp_path / "bad.pth")
        with pytest.raises(
            BadInput, match=r"^[^\n]*bad\.pth: its pickle asks for \S+\.(getattr|system), which is no plain data"
        ):
            PeopleFinder(CPU, CONFIG, tmp_path / "bad.pth", "whole-image")
    assert not (tmp_path / "it_ran").exists()


@needs_mmpose
def test_weights_of_another_network_are_refused(pose_weights, tmp_path):
    state = torch.load(pose_weights, weights_only=False)["state_dict"]
    weight = state.pop("head.final_layer.weight")
    for changed in (state, state | {"head.final_layer.weight": weight[:5]}):  # mmengine takes both
        torch.save({"state_dict": changed}, tmp_path / "other.pth")
        with pytest.raises(BadInput, match=r"other\.pth: the weights of another network: 1 of .* head\.final_layer"):
            PeopleFinder(CPU, CONFIG, tmp_path / "other.pth", "whole-image")


@needs_mmpose
def test_broken_weights_and_configs_are_named(pose_weights, tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(pose_weights.read_bytes()[:5000])
    with pytest.raises(BadInput, match=r"w\.pth: not a readable checkpoint"):
        PeopleFinder(CPU, CONFIG, path, "whole-image")
    for content in ([1], {"state_dict": [1]}):
        torch.save(content, path)
        with pytest.raises(BadInput, match=r"w\.pth: holds no weights by name"):
            PeopleFinder(CPU, CONFIG, path, "whole-image")
    config = tmp_path / "mine.py"
    config.write_text("model = dict(type='NoSuchNetwork')\ndata_mode = 'topdown'\n")
    with pytest.raises(BadInput, match=r"mine\.py: mmpose cannot build it or load .*pose\.pth .*NoSuchNetwork"):
        PeopleFinder(CPU, str(config), pose_weights, "whole-image")
    config.write_text("model = (")
    with pytest.raises(BadInput, match=r"mine\.py: cannot be read as a config"):
        PeopleFinder(CPU, str(config), pose_weights, "whole-image")


@needs_mmpose
def test_without_weights_the_error_names_the_file_the_place_and_the_flags(pose_weights, tmp_path, monkeypatch):
    def offline(*_: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(BadInput, match=r"pose2d_weights: .*td-hm_mobilenetv2_\S+\.pth cannot be downloaded"):
        PeopleFinder(CPU, CONFIG)
    with pytest.raises(
        BadInput, match=r'detector_weights: .*rtmdet_m_\S+\.pth.*, or give it; or .* the detector "whole-image"'
    ):
        PeopleFinder(CPU, CONFIG, pose_weights)
    with pytest.raises(BadInput, match="rtmpose-m"):  # the default, by its alias
        PeopleFinder(CPU)
    with pytest.raises(BadInput, match=f"mobilenetv2_8xb64-210e_coco-256x19: no such file.*did you mean '{CONFIG}'"):
        PeopleFinder(CPU, CONFIG[:-1])


@needs_mmpose
def test_layouts_are_known_by_their_keypoints_names():
    """mmpose's own descriptions of the data sets have our joints in our order; other bodies are refused."""
    mmpose_2d._import_mmpose()
    parse = importlib.import_module("mmpose.datasets.datasets.utils").parse_pose_metainfo
    folder = package("mmpose") / ".mim" / "configs" / "_base_" / "datasets"
    for name, layout in (("coco", "coco"), ("coco_wholebody", "coco"), ("halpe26", "halpe"), ("h36m", "h36m")):
        meta = parse({"from_file": str(folder / f"{name}.py")})
        assert mmpose_2d._layout(name, meta) == layout
        theirs = [meta["keypoint_id2name"][i] for i in range(len(LAYOUT_BY_NAME[layout].joints))]
        for their, our in zip(theirs, LAYOUT_BY_NAME[layout].joints, strict=True):
            side = {"left": "L", "right": "R"}.get(their.partition("_")[0], "")
            assert (our[0] if our[1:2].isupper() else "") == side, (their, our)
            if layout != "h36m":  # whose joints have other names there
                assert their.replace("_", "").removeprefix("left").removeprefix("right") in our.lower()
    for name in ("ap10k", "mpii", "crowdpose", "coco_wholebody_hand"):
        with pytest.raises(BadInput, match=f"{name}: finds .* cannot be lifted"):
            mmpose_2d._layout(name, parse({"from_file": str(folder / f"{name}.py")}))


@needs_mmpose
def test_the_stand_in_is_gone_after_the_import():
    mmpose_2d._import_mmpose()
    if importlib.util.find_spec("mmcv._ext") is None:
        assert not [name for name in sys.modules if name.startswith("mmcv.ops")]
        with pytest.raises(ImportError):
            importlib.import_module("mmcv.ops")
