import struct

import google_crc32c
import numpy as np
import pytest

from moga_st.data.video import bair
from moga_st.errors import BadInput
from tests.data.video.prepared import read


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def message(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def example(features: dict[str, bytes]) -> bytes:
    """As TensorFlow writes it: Example.features.feature is a map from names to lists."""
    entries = b"".join(message(1, message(1, name.encode()) + message(2, f)) for name, f in features.items())
    return message(1, entries)


def clip(frames: np.ndarray) -> bytes:
    features = {}
    for i, f in enumerate(frames):
        features[f"{i}/image_main/encoded"] = message(1, message(1, f[::-1].tobytes()))  # the other camera
        features[f"{i}/action"] = message(2, message(1, struct.pack("<4f", 1, 2, 3, 4)))  # a list of floats
        features[f"{i}/image_aux1/encoded"] = message(1, message(1, f.tobytes()))
        features[f"{i}/step"] = message(3, message(1, varint(300)))
    return example(features)


def masked(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % 2**32)


def write(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for r in records:
            length = struct.pack("<Q", len(r))
            file.write(length + masked(length) + r + masked(r))


def made(seed: int, frames: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, 64, 64, 3), np.uint8)


def test_checksums_are_masked_crc32c():
    crc = 0xE3069283  # of "123456789", RFC 3720
    assert bair._masked_crc(b"123456789") == struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def test_clips_and_split(tmp_path):
    root = tmp_path / "softmotion30_44k"
    clips = [made(i, frames=2 + i % 3) for i in range(25)]
    write(root / "train" / "traj_0_to_13.tfrecords", [clip(c) for c in clips[:14]])
    write(root / "train" / "traj_14_to_21.tfrecords", [clip(c) for c in clips[14:22]])
    write(root / "test" / "traj_0_to_2.tfrecords", [clip(c) for c in clips[22:]])
    bair.prepare(tmp_path, tmp_path / "out.h5", window=3)
    about, parts = read(tmp_path / "out.h5")
    assert list(about["channels"]) == ["red", "green", "blue"]
    assert parts["train"].name == [f"train/{i:05d}" for i in range(21)]
    assert parts["val"].name == ["train/00021"]  # one in twenty, the last
    assert parts["test"].name == ["test/00000", "test/00001", "test/00002"]
    for part, given in (("train", clips[:21]), ("val", clips[21:22]), ("test", clips[22:])):
        np.testing.assert_array_equal(parts[part].frames, np.concatenate(given))
        assert parts[part].first == [0, *np.cumsum([len(c) for c in given]).tolist()]
    assert parts["val"].start is None
    lengths = [len(c) for c in clips[22:]]  # 3, 4, 2
    assert parts["test"].start == [0, 3, 4]
    assert lengths == [3, 4, 2]


def test_damage_is_found(tmp_path):
    path = tmp_path / "a.tfrecords"
    write(path, [b"first record", b"second"])
    data = path.read_bytes()
    assert list(bair.read_records(path)) == [b"first record", b"second"]
    assert len(list(bair.read_records(path, check=False))) == 2
    for place in (0, 9, 15, 25, 30, 49):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(BadInput, match=r"a\.tfrecords: (damaged|says that)"):
            list(bair.read_records(path))
    path.write_bytes(data[:-3])
    with pytest.raises(BadInput, match="damaged"):
        list(bair.read_records(path))


def test_records_that_are_no_clips(tmp_path):
    path = tmp_path / "a.tfrecords"
    for record, match in (
        (b"\x0a\x05ab", "is no Example .a field is longer"),
        (b"\x0b", "wire type 3"),
        (b"\xff" * 11, "is no Example"),
        (
            example({"0/image_aux1/encoded": message(1, message(1, bytes(12)))}),
            "frame 0 of a clip is not one raw image",
        ),
    ):
        with pytest.raises(BadInput, match=match):
            list(bair.frames_of(record, path))
    assert list(bair.frames_of(b"", path)) == []
