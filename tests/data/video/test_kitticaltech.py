import io
import struct

import h5py
import numpy as np
import pytest
from PIL import Image

from moga_st.data.video import kitticaltech
from moga_st.errors import BadInput
from tests.data.video.prepared import read

NAMES = ["city-0001"] * 14 + ["road-0002"] * 40 + ["city-0001"] * 11 + ["short-0003"] * 5 + ["road-0004"] * 13


def frame(value: int) -> np.ndarray:
    out = np.zeros((128, 160, 3), np.uint8)
    out[...] = value, 100, 200  # RGB
    return out


def write_kitti(folder, part="train", names=NAMES, how="text"):
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / f"X_{part}.hkl", "w") as file:
        file["data_0"] = np.stack([frame(i) for i in range(len(names))])
    with h5py.File(folder / f"sources_{part}.hkl", "w") as file:
        if how == "text":  # one array of strings
            file["data_0"] = np.array(names, "S")
        elif how == "items":  # one data set an item
            group = file.create_group("data_0")
            for i, name in enumerate(names):
                group.create_dataset(f"data_{i}", data=[name], dtype=h5py.string_dtype())
        else:  # strings as their bytes, without a group for the list
            for i, name in enumerate(names):
                file[f"data{i}"] = np.frombuffer(name.encode(), np.uint8)


def write_cache(folder, count=30, starts=(0, 19, 8)):
    folder.mkdir(parents=True)
    np.save(folder / "data_cache.npy", np.stack([frame(i)[..., ::-1] for i in range(count)]))  # BGR
    np.save(folder / "indices_cache.npy", np.array(starts, np.int32))


def test_kitti_by_recordings_and_caltechs_arrays(tmp_path):
    write_kitti(tmp_path / "kitti_hkl")
    write_cache(tmp_path / "caltech", starts=(19, 8))
    kitticaltech.prepare(tmp_path, tmp_path / "out.h5")
    about, parts = read(tmp_path / "out.h5")
    assert list(about["channels"]) == ["red", "green", "blue"]
    assert parts["train"].name == ["city-0001/0", "road-0002/1", "city-0001/2"]  # five frames fit no window
    assert parts["train"].first == [0, 14, 54, 65]
    assert parts["val"].name == ["road-0004/4"]
    assert parts["val"].start == [2]
    assert parts["val"].frames[:, 0, 0].tolist() == [[70 + i, 100, 200] for i in range(13)]
    assert parts["test"].start == [8, 19]
    assert parts["test"].frames[:, 5, 7].tolist() == [[i, 100, 200] for i in range(30)]  # RGB, as all others


@pytest.mark.parametrize("how", ["text", "items", "bytes"])
def test_hickles_lists_of_any_version(tmp_path, how):
    write_kitti(tmp_path, names=NAMES[:16], how=how)
    assert kitticaltech.read_hickle_list(tmp_path / "sources_train.hkl") == NAMES[:16]


def test_prednets_own_validation_recordings(tmp_path):
    write_kitti(tmp_path / "kitti_hkl", names=["a"] * 12 + ["b"] * 12)
    write_kitti(tmp_path / "kitti_hkl", "val", names=["c"] * 23)
    write_cache(tmp_path / "caltech")
    with pytest.raises(BadInput, match=r"indices_cache.npy: expected starts of windows of 11 frames"):
        kitticaltech.prepare(tmp_path, tmp_path / "out.h5")  # 0 and 8 overlap
    np.save(tmp_path / "caltech" / "indices_cache.npy", np.array([0, 11]))
    kitticaltech.prepare(tmp_path, tmp_path / "out.h5")
    _, parts = read(tmp_path / "out.h5")
    assert parts["train"].first == [0, 12, 24]
    assert parts["val"].start == [1, 12]


def norpix(images: list[bytes], pad: int, kind: int = 102) -> bytes:
    header = bytearray(1024)
    header[:4] = b"\xed\xfe\x00\x00"
    header[4:24] = "Norpix seq".encode("utf-16-le")
    struct.pack_into("<9I", header, 548, 640, 480, 24, 8, 0, kind, len(images), 0, 0)
    return bytes(header) + b"".join(
        struct.pack("<I", len(i) + 4) + i + struct.pack("<IHH", 5, 3, 0) + bytes(pad) for i in images
    )


def jpeg(value: int) -> bytes:
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[...] = value, 30, 200
    pixels[:, :4] = 255  # the left edge, which the crop takes away only where frames are wider
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, "jpeg", quality=95, subsampling=0)
        return file.getvalue()


@pytest.mark.parametrize("pad", [0, 8])
def test_caltechs_videos(tmp_path, pad):
    write_kitti(tmp_path / "kitti_hkl", names=["a"] * 12 + ["b"] * 12)
    path = tmp_path / "caltech" / "set06" / "V003.seq"
    path.parent.mkdir(parents=True)
    images = [jpeg(60 + 2 * i) for i in range(37)]
    path.write_bytes(norpix(images, pad))
    assert len(list(kitticaltech.read_seq(path))) == 37
    kitticaltech.prepare(tmp_path, tmp_path / "out.h5")
    _, parts = read(tmp_path / "out.h5")
    assert parts["test"].name == ["set06/V003"]
    assert parts["test"].frames.shape == (12, 128, 160, 3)  # the third frame, the sixth, ...
    assert parts["test"].start == [1]
    values = parts["test"].frames[:, 60, 80].astype(int)
    np.testing.assert_allclose(values, [[60 + 2 * (3 * i + 2), 30, 200] for i in range(12)], atol=4)
    data = path.read_bytes()
    for bad, match in (
        (data[:-200], "damaged"),
        (data[:600], "no Norpix header"),
        (norpix(images, pad, kind=100), "kind 100"),
        (data[:1028] + b"xx" + data[1030:], "damaged"),
    ):
        path.write_bytes(bad)
        with pytest.raises(BadInput, match=match):
            list(kitticaltech.read_seq(path))


def test_prednets_crop():
    wide = np.zeros((64, 160, 3), np.uint8)
    wide[:, 40:120] = 250  # twice as large, its middle half is what is left
    got = kitticaltech.fit(wide)
    assert got.shape == (128, 160, 3)
    assert got[:, 4:-4].min() == got.max() == 250


def test_frames_that_do_not_fit_their_names(tmp_path):
    write_kitti(tmp_path / "kitti_hkl")
    write_kitti(tmp_path / "other", names=NAMES[:20])
    (tmp_path / "other" / "sources_train.hkl").replace(tmp_path / "kitti_hkl" / "sources_train.hkl")
    with pytest.raises(BadInput, match=r"X_train.hkl: expected uint8 frames \(20, 128, 160, 3\), got uint8 \(83, 128"):
        kitticaltech.prepare(tmp_path, tmp_path / "out.h5")
