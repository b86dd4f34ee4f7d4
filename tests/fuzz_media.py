"""Readers of clips, pictures, keypoints, motion, published data sets and results, with small valid files for each."""

from __future__ import annotations

import io
import json
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import imageio_ffmpeg
import numpy as np
import torch
from PIL import Image
from scipy.io import netcdf_file, savemat

from moga_st import recipes
from moga_st.data import images
from moga_st.data.pose import mpi_inf_3dhp, own_motion
from moga_st.data.pose.bvh import write_bvh
from moga_st.data.pose.camera import project, world_to_camera
from moga_st.data.pose.export import motion
from moga_st.data.pose.generated import generate_clip
from moga_st.data.pose.joint_names import read_mapping
from moga_st.data.pose.keypoints import read_people
from moga_st.data.pose.skeleton import COCO17, JOINTS
from moga_st.data.video import bair, human36m_video, kinetics, kitticaltech, kth, photographs, sevir, taxibj
from moga_st.data.video.clip_windows import ClipWindows
from moga_st.data.video.clips import open_clip
from moga_st.data.video.prepared_clips import describe, write_clips
from moga_st.draw.files import save_mp4
from moga_st.draw.images import ClassifiedImage
from moga_st.draw.video import PredictedClip
from moga_st.engine.config import config_of_weights
from moga_st.engine.run import read_jsonl
from moga_st.infer.classify import load_classifier
from moga_st.models.moganet import MogaNetConfig
from moga_st.pretrained import export_weights, read_weights
from moga_st.report.examples import Kept, load_examples, save_examples
from moga_st.report.results import read_record, read_run
from moga_st.scores import Score, Scores
from moga_st.spec import InputSpec
from tests.fuzz_edits import Reader

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (6, 12, 16, 3), np.uint8)
PICTURES = [Image.fromarray(f) for f in FRAMES]


def made(name: str, write: Callable[[Path], Any]) -> bytes:
    """The content of a file that ``write`` writes."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name)
        return (Path(folder) / name).read_bytes()


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "replace")


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


# clips and pictures


def read_clip(path: Path) -> None:
    clip = open_clip(path)
    for _, _frame in zip(range(50), clip.read(), strict=False):
        pass


def animations() -> list[bytes]:
    more = {"save_all": True, "append_images": PICTURES[1:], "duration": 40}
    tiff = {"save_all": True, "append_images": PICTURES[1:], "compression": "tiff_lzw"}
    moving = [saved(PICTURES[0], kind, **more) for kind in ("GIF", "PNG", "WEBP")]
    return [*moving, saved(PICTURES[0], "TIFF", **tiff)]


def videos() -> list[bytes]:
    mp4 = made("a.mp4", lambda p: save_mp4(p, FRAMES, 25.0, 20))

    def remuxed(path: Path) -> None:
        source = path.with_name("source.mp4")
        source.write_bytes(mp4)
        frames = imageio_ffmpeg.read_frames(str(source))
        next(frames)
        writer = imageio_ffmpeg.write_frames(
            str(path), (16, 12), fps=25, macro_block_size=2, codec=CODECS[path.suffix], bitrate="200k"
        )
        writer.send(None)
        for frame in frames:
            writer.send(frame)
        writer.close()

    return [mp4, *(made(f"a{suffix}", remuxed) for suffix in CODECS)]


CODECS = {".mkv": "libx264", ".avi": "mpeg4", ".ts": "mpeg2video", ".webm": "libvpx"}


def array_clips() -> list[bytes]:
    def npy(path: Path) -> None:
        np.save(path, FRAMES)

    def npz(path: Path) -> None:
        np.savez_compressed(path, clip=FRAMES[..., 0])

    def hdf5(path: Path) -> None:
        with h5py.File(path, "w") as file:
            file.create_dataset("clip", data=FRAMES, chunks=(2, 12, 16, 3), compression="gzip")

    def netcdf(path: Path) -> None:
        with netcdf_file(path, "w") as file:
            for name, size in (("time", 6), ("y", 12), ("x", 16)):
                file.createDimension(name, size)
            file.createVariable("u", "f4", ("time", "y", "x"))[:] = FRAMES[..., 0]
            file.createVariable("time", "f8", ("time",))[:] = np.arange(6)
            file.variables["time"].units = b"hours since 2000-01-01"

    return [made("a.npy", npy), made("a.npz", npz), made("a.h5", hdf5), made("a.nc", netcdf)]


ARRAY = {"zarr_format": 2, "shape": [6, 4, 5], "chunks": [3, 4, 5], "dtype": "<f4", "compressor": None}
ARRAY |= {"fill_value": 0.0, "order": "C", "filters": None}


def read_zarr(path: Path) -> None:
    (path.parents[1] / ".zgroup").write_text('{"zarr_format": 2}')
    (path.parent / ".zattrs").write_text('{"_ARRAY_DIMENSIONS": ["time", "y", "x"]}')
    for i in range(2):
        (path.parent / f"{i}.0.0").write_bytes(FRAMES.tobytes()[:240])
    read_clip(path.parents[1])


def stills() -> list[bytes]:
    kinds = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000")
    wide = Image.fromarray(RNG.integers(0, 65_535, (12, 16), np.uint16))
    return [*(saved(PICTURES[0], kind) for kind in kinds), saved(wide, "PNG"), saved(PICTURES[0].convert("P"), "PNG")]


def prepared() -> bytes:
    def write(path: Path) -> None:
        with write_clips(path, "source", "licence", ("red", "green", "blue"), fps=10.0) as writer:
            for split in ("train", "val", "test"):
                writer.add_clip(split, split, FRAMES)

    return made("c.h5", write)


def read_prepared(path: Path) -> None:
    describe(path)
    windows = ClipWindows(path, 2, 2)
    for split in ("train", "val", "test"):
        windows.fetch(split, np.arange(windows.count(split))[:3])


# keypoints

XY = (300 + 200 * RNG.random((4, 17, 2))).round(1)
FLAT = [[c for x, y in frame for c in (x, y, 0.9)] for frame in XY.tolist()]
MARKS = [[{"x": x / 1000, "y": y / 1000, "z": 0.1, "visibility": 0.9} for x, y in [*f, *f][:33]] for f in XY.tolist()]


def keypoint_files() -> list[Any]:
    coco = [{"image_id": i, "category_id": 1, "keypoints": f, "score": 0.9} for i, f in enumerate(FLAT)]
    truth = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 1000, "height": 1000} for i in range(4)],
        "annotations": [{"image_id": i, "track_id": 1, "keypoints": f, "id": i} for i, f in enumerate(FLAT)],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO17.joints)}],
    }
    people = [{"keypoints": f, "keypoint_scores": [0.9] * 17, "track_id": 1} for f in XY.tolist()]
    mmpose = [{"frame_id": i, "instances": [p]} for i, p in enumerate(people)]
    meta = {"size_px": [1000, 1000], "fps": 25.0, "layout": "coco"}
    openpose = [{"person_id": [-1], "pose_keypoints_2d": f + [400, 400, 0.5] * 8} for f in FLAT]
    alpha = [{"image_id": f"{i}.jpg", "keypoints": f, "score": 2.1, "idx": [1]} for i, f in enumerate(FLAT)]
    opened = {
        f"{i}.jpg": {"version": 0.1, "people": [{"pose_keypoints_2d": [*f, 1, 1, 1]}]} for i, f in enumerate(FLAT)
    }
    flow = {f"{i}.jpg": [{"keypoints": f, "scores": [0.9] * 17, "idx": 1}] for i, f in enumerate(XY.tolist())}
    spread = {"x": XY[0, :, 0].tolist(), "y": XY[0, :, 1].tolist(), "visible": [0.9] * 17}
    ultralytics = [{"name": "person", "class": 0, "confidence": 0.9, "track_id": 1, "keypoints": spread}]
    vitpose = {
        "keypoints": [{"0": [[y, x, 0.9] for x, y in f]} for f in XY.tolist()],
        "skeleton": dict(zip(map(str, range(17)), COCO17.joints, strict=True)),
    }
    return [
        *(coco, truth, mmpose, {"meta_info": meta, "instance_info": mmpose}, people, {"people": openpose[:1]}, alpha),
        *(opened, flow, ultralytics, [ultralytics, ultralytics], vitpose),
        *([{"frame": i, "landmarks": f} for i, f in enumerate(MARKS)], MARKS, [[f] for f in MARKS]),
    ]


def keypoint_arrays() -> list[Any]:
    detected = {"positions_2d": {"clip": {"custom": [XY]}}, "metadata": {"video_metadata": {"clip": {"w": 1000}}}}
    boxes = np.array([[[], [[1.0, 2, 3, 4, 0.9]]]] * 4, object)
    found = np.empty((4, 2), object)
    for i in range(4):
        found[i, 0], found[i, 1] = [], np.concatenate([XY[i].T, np.ones((2, 17))])[None]
    return [
        {"keypoints": XY, "size_px": np.array([1000, 1000]), "fps": np.float64(25), "layout": np.array("coco")},
        {"keypoints_px": np.concatenate([XY, np.ones((4, 17, 1))], 2), "frame": np.arange(4), "fps": np.float64(25)},
        {"reconstruction": XY[None]},
        detected,
        {"boxes": boxes, "keypoints": found, "metadata": {"w": 1000, "h": 1000}},
    ]


def deeplabcut() -> bytes:
    names = [f"k{i}" for i in range(17)]
    head = [["scorer"] + ["s"] * 51, ["bodyparts", *(n for n in names for _ in "xyl")]]
    head.append(["coords", *(["x", "y", "likelihood"] * 17)])
    rows = [[str(i), *map(str, f)] for i, f in enumerate(FLAT)]
    return "\n".join(",".join(row) for row in head + rows).encode()


def read_points(path: Path) -> None:
    layout = "coco" if path.suffix == ".csv" else None
    read_people(path, size_px=(1000, 1000), fps=25.0, layout=layout)


# motion


def body() -> np.ndarray:
    return generate_clip(1, "walk", 0, 12).astype(np.float32)


def lifted() -> list[Any]:
    poses, frame = body(), np.arange(12)
    known = {"poses_m": poses, "fps": np.float64(50), "frame": frame, "time_s": frame / 50, "space": np.array("world")}
    known |= {"confidence": np.ones((12, 17)), "keypoints_px": np.ones((12, 17, 3)), "size_px": np.array([9, 9])}
    return [{**known, "joints": np.array(JOINTS), "person": np.array(1), "note": np.array("n")}]


def c3d() -> list[bytes]:
    import ezc3d

    def write(path: Path) -> None:
        file = ezc3d.c3d()
        file["parameters"]["POINT"]["RATE"]["value"] = [50]
        file["parameters"]["POINT"]["LABELS"]["value"] = [f"k{i}" for i in range(17)]
        points = np.ones((4, 17, 12))
        points[:3] = body().transpose(2, 1, 0) * 1000
        file["data"]["points"] = points
        file.write(str(path))

    return [made("a.c3d", write)]


def read_motion(path: Path) -> None:
    mapping = {joint: (f"k{i}",) for i, joint in enumerate(JOINTS)}
    if path.suffix == ".c3d":
        own_motion._from_c3d(path, mapping)
    else:
        list(own_motion._clips(path, [path], None, None, None))


CALIBRATION = "Skeletool Camera Calibration File V1.0\n" + "".join(
    f"name {i}\n  sensor 10 10\n  size 2048 2048\n  intrinsic 1500 0 1020 0 0 1490 1050 0 0 0 1 0 0 0 0 1\n"
    f"  extrinsic {side} 0 0 0 0 -1 0 1200 0 0 {-side} 4000 0 0 0 1\n  radial 0\n"
    for i, side in enumerate((1, -1))
)


def read_3dhp(path: Path) -> None:
    (path.parent / "camera.calibration").write_text(CALIBRATION)
    mpi_inf_3dhp._training_clip(path)


def mat_file() -> bytes:
    cells2, cells3 = np.empty((2, 1), object), np.empty((2, 1), object)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "c").write_text(CALIBRATION)
        cameras = mpi_inf_3dhp.read_calibration(Path(folder) / "c")
    for i, camera in cameras.items():
        seen = world_to_camera(torch.from_numpy(body().astype(np.float64)), camera)
        points, pixels = np.zeros((12, 28, 3)), np.zeros((12, 28, 2))
        points[:, mpi_inf_3dhp.TRAIN_JOINTS] = seen.numpy() * 1000
        pixels[:, mpi_inf_3dhp.TRAIN_JOINTS] = project(seen, camera).numpy()
        cells2[i, 0], cells3[i, 0] = pixels.reshape(12, 56), points.reshape(12, 84)
    return made("a.mat", lambda p: savemat(p, {"annot2": cells2, "annot3": cells3, "cameras": np.arange(2)}))


# published video data


def hickle() -> bytes:
    def write(path: Path) -> None:
        with h5py.File(path, "w") as file:
            file.create_dataset("data_0", data=[b"city-1", b"city-2"])

    return made("s.hkl", write)


def norpix() -> bytes:
    head = bytearray(1024)
    head[:24] = b"\xed\xfe\x00\x00" + "Norpix seq".encode("utf-16-le")
    head[568:572] = struct.pack("<I", 102)
    jpeg = saved(PICTURES[0], "JPEG")
    return bytes(head) + (struct.pack("<I", len(jpeg) + 4) + jpeg + bytes(8)) * 3


def field(number: int, content: bytes) -> bytes:
    """Of a protocol buffer: bytes of up to 2 ** 21."""
    size = len(content)
    length = bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14])
    return bytes([number << 3 | 2]) + length + content


def example() -> bytes:
    frame = field(1, field(1, bytes(64 * 64 * 3)))
    entry = field(1, field(1, b"0/image_aux1/encoded") + field(2, frame))
    return field(1, entry)


def records() -> bytes:
    data, head = example(), struct.pack("<Q", len(example()))
    return head + bair._masked_crc(head) + data + bair._masked_crc(data)


def samples() -> list[Any]:
    part = {f"{x}_{p}": RNG.random((3, 4, 2, 32, 32)).astype(np.float32) for x in "XY" for p in ("train", "test")}
    return [part]


def read_catalogue(path: Path) -> None:
    (path.parent / "vil").mkdir(exist_ok=True)
    (path.parent / "vil/a.h5").touch()
    sevir._from_catalogue(path)


CATALOGUE = (
    b"id,file_name,file_index,img_type,time_utc\nS1,vil/a.h5,0,vil,2018-01-01 00:00:00\nS2,vil/a.h5,1,vil,2019-01-01\n"
)
LISTED = b"label,youtube_id,time_start,time_end,split\nrun,abcdefghijk,1,11,train\nrun,bbcdefghijk,2,12,train\n"
SEQUENCES = b"person01_boxing_d1\t\tframes\t1-95, 96-185, 186-245\nperson01_boxing_d2 frames 1-10, 11-20\n"
BATCH = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 2], b"batch_label": b"x"}


def batch(value: Any) -> bytes:
    import pickle

    return pickle.dumps(value)


# results and weights


def run_json() -> list[Any]:
    config = {"kind": "run", "name": "tiny", "steps": 3}
    state = {"data": "x", "step": 3, "seconds": 1.5, "best": 0.1, "best_step": 2}
    session = {"argv": ["a"], "from_step": 0, "git": {"commit": "c", "diff": ""}, "time": "2026-01-01"}
    return [{"config": config, "facts": {"data": "d"}, "parameters": 10, "state": state, "sessions": [session]}]


def record() -> list[Any]:
    score = Score({"mse": 1.0}, {"frame": {"mse": {"1": 1.0}}})
    scores = Scores(score, {"copy": score}).to_dict()
    about = {"argv": ["moga-st"], "made_by": {"time": "t", "git": None}, "facts": {"data": "d"}, "pictures": ["a.png"]}
    return [{"weights": "w", "trained": {"run": {"name": "x"}}, "split": "test", "scores": scores, **about}]


def kept() -> list[Any]:
    past = FRAMES[..., :1].transpose(0, 3, 1, 2) / 255
    examples = [PredictedClip("best", "t", past, past, past), ClassifiedImage("worst", "u", FRAMES[0])]

    def write(path: Path) -> None:
        (path.with_name("w")).touch()
        save_examples(path, Kept("test", examples), path.with_name("w"))

    with np.load(io.BytesIO(made("e.npz", write))) as arrays:
        return [dict(arrays)]


SPEC = InputSpec((3, 32, 32), (2,))
CLASSIFIER = MogaNetConfig(widths=(8, 8, 8, 8), depths=(1, 1, 1, 1), classes=2)
ABOUT = {
    "facts": {"classes": ["cat", "dog"], "test_view": {"size": [32, 32], "crop": 0.9}},
    "run": recipes.load("mmnist_demo").to_dict(),
}


def classifier_weights(about: Any) -> bytes:
    torch.manual_seed(0)
    return made("w.safetensors", lambda p: export_weights(p, CLASSIFIER.build(), CLASSIFIER, about, spec=SPEC))


def read_classifier(path: Path) -> None:
    load_classifier(path)
    about = read_weights(path).about
    if "run" in about:
        config_of_weights(about, path, path.parent)


def npz_bytes(values: Any) -> bytes:
    from tests.fuzz_readers import _npz

    return _npz(values)


def several(*valid: bytes) -> Callable[[], list[bytes]]:
    return lambda: list(valid)


MEDIA = {
    "animation": Reader("clip.bin", animations, read_clip),
    "video": Reader("clip.bin", videos, read_clip),
    "array_clip": Reader("clip.bin", array_clips, read_clip),
    "zarr": Reader("store/u/.zarray", list, read_zarr, lambda: [ARRAY], as_json),
    "image": Reader("image.bin", stills, images.read_image),
    "prepared_clips": Reader("clips.h5", lambda: [prepared()], read_prepared),
    "keypoints_json": Reader("k.json", list, read_points, keypoint_files, as_json),
    "keypoints_npz": Reader("k.npz", list, read_points, keypoint_arrays, npz_bytes),
    "keypoints_csv": Reader("k.csv", lambda: [deeplabcut()], read_points),
    "keypoints_yolo": Reader(
        "yolo/1.txt",
        lambda: [" ".join(map(str, [0, 0.5, 0.5, 0.2, 0.2, *(v / 1000 if v > 1 else v for v in FLAT[0])])).encode()],
        lambda p: read_points(p.parent),
    ),
    "bvh": Reader("a.bvh", lambda: [made("a.bvh", lambda p: write_bvh(p, body(), 50.0))], read_motion),
    "c3d": Reader("a.c3d", c3d, read_motion),
    "motion_npz": Reader("a.npz", list, motion.read_npz, lifted, npz_bytes),
    "3dhp": Reader("S1/Seq1/annot.mat", lambda: [mat_file()], read_3dhp),
    "calibration": Reader("c.calibration", several(CALIBRATION.encode()), mpi_inf_3dhp.read_calibration),
    "joint_mapping": Reader(
        "joints.json", list, read_mapping, lambda: [{j: [f"k{i}"] for i, j in enumerate(JOINTS)}], as_json
    ),
    "hickle": Reader("s.hkl", lambda: [hickle()], kitticaltech.read_hickle_list),
    "norpix": Reader("v.seq", lambda: [norpix()], lambda p: list(kitticaltech.read_seq(p))),
    "tfrecord": Reader("a.tfrecords", lambda: [records()], lambda p: list(bair.read_records(p))),
    "tf_example": Reader("e.bin", lambda: [example()], lambda p: list(bair.frames_of(p.read_bytes(), p))),
    "taxibj": Reader("dataset.npz", list, lambda p: taxibj.read_samples(p, "train"), samples, npz_bytes),
    "sevir": Reader("CATALOG.csv", several(CATALOGUE), read_catalogue),
    "kinetics": Reader("annotations/train.csv", several(LISTED), lambda p: kinetics.read_list(p.parents[1], "train")),
    "kth": Reader("00sequences.txt", several(SEQUENCES), kth.read_sequences),
    "human36m_video": Reader("train.txt", several(b"images/S1_x_,1,41\n"), human36m_video.read_list),
    "cifar": Reader(
        "data_batch_1", list, lambda p: photographs._read_python(p.parent, p.name), lambda: [dict(BATCH)], batch
    ),
    "run_json": Reader("run.json", list, lambda p: read_run(p.parent), run_json, as_json),
    "eval_json": Reader("eval.json", list, read_record, record, as_json),
    "log": Reader(
        "metrics.jsonl", several(b'{"step": 1, "seconds": 1.0, "loss": 0.5}\n{"step": 2, "val/mse": 3}\n'), read_jsonl
    ),
    "examples": Reader("examples.npz", list, load_examples, kept, npz_bytes),
    "classifier": Reader("w.safetensors", list, read_classifier, lambda: [ABOUT], classifier_weights),
}
