"""BAIR robot pushing as prepared clips: 64x64, RGB, from its TFRecord files, without TensorFlow.

``softmotion30_44k/{train,test}/*.tfrecords`` hold one Example a clip, whose feature ``I/image_aux1/encoded`` is the
frame ``I`` of the main camera as 64 x 64 x 3 raw bytes.

A TFRecord file is a row of records: the length (8 bytes, little endian), its checksum (4), the data, its checksum (4);
checksums are CRC-32C, turned and shifted ("masked").  An Example is a protocol buffer; of its wire format only what
holds bytes is read here.

Needs google-crc32c: ``pip install 'moga-st[bair]'``.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from moga_st import storage
from moga_st.data.video.prepared_clips import Split, check_space, write_clips
from moga_st.data.video.published import FRAME_SUMS, RGB, windows_from_end, within
from moga_st.errors import BadInput

SIZE = 64
VAL_SHARE = 20  # one in so many of the training clips, the last ones, validates
SOURCE = "BAIR robot pushing (Ebert, Finn, Lee, Levine: Self-supervised visual planning, CoRL 2017)"
LICENCE = "none stated; given out by the authors for research, cite the paper"
MOST = 256 << 20  # bytes of a record: no clip is nearly as large


def prepare(source: Path, out: Path, window: int = 16) -> None:
    """Write the prepared file of BAIR robot pushing.

    Args:
        source: The folder with train/ and test/, or one with it as softmotion30_44k/.
        out: The file to write.
        window: Frames of a test window, every one of which is scored: 16 for 4 in, 12 out.

    Raises:
        BadInput: no records, or a damaged one.
    """
    root = within(source, "softmotion30_44k", "train")
    files = {part: sorted((root / part).glob("*.tfrecord*")) for part in ("train", "test")}
    if missing := [part for part, paths in files.items() if not paths]:
        raise BadInput(f"{root / missing[0]}: holds no .tfrecords files; add them")
    total = sum(1 for path in files["train"] for _ in read_records(path, check=False))
    first_val = total - max(1, total // VAL_SHARE)
    conventions = {
        "mse, mae": FRAME_SUMS,
        "split": f"the last {total - first_val} of the {total} training clips validate; the folder test tests",
        "windows": f"test: every one of {window} frames",
    }
    clips = total + sum(1 for path in files["test"] for _ in read_records(path, check=False))
    length = len(list(frames_of(next(read_records(files["train"][0])), files["train"][0])))
    total = check_space(out, clips * length, (64, 64, 3))
    with write_clips(out, SOURCE, LICENCE, RGB, conventions=conventions, frames=total) as writer:
        for part, paths in files.items():
            numbers = itertools.count()
            for path in paths:
                for record in read_records(path):
                    i = next(numbers)
                    split: Split = "test" if part == "test" else "val" if i >= first_val else "train"
                    clip = list(frames_of(record, path))
                    starts = windows_from_end(len(clip), window, 1) if split == "test" else None
                    writer.add_clip(split, f"{part}/{i:05d}", clip, starts=starts)


def frames_of(record: bytes, path: Path) -> Iterator[np.ndarray]:
    """The main camera's frames (64, 64, 3) uint8 of one Example.

    Raises:
        BadInput: no Example, or its frames are of another size; the message names ``path``.
    """
    try:
        features = parse_example(record)
    except (ValueError, IndexError, struct.error) as error:
        raise BadInput(f"{path}: a record is no Example ({error}); fetch it again") from error
    for i in itertools.count():
        values = features.get(f"{i}/image_aux1/encoded")
        if values is None:
            return
        if len(values) != 1 or len(values[0]) != SIZE * SIZE * 3:
            raise BadInput(f"{path}: frame {i} of a clip is not one raw image of {SIZE} x {SIZE} x 3 bytes")
        yield np.frombuffer(values[0], np.uint8).reshape(SIZE, SIZE, 3)


def read_records(path: Path, check: bool = True) -> Iterator[bytes]:
    """The records of a TFRecord file, one at a time.

    Args:
        path: The file.
        check: Read the data and hold it against its checksum; without, records are empty, which counts them.

    Raises:
        BadInput: cut short, or a checksum does not fit.
    """
    with storage.open_file(path) as file:
        while head := file.read(12):
            if len(head) < 12 or _masked_crc(head[:8]) != head[8:]:
                raise BadInput(f"{path}: damaged {file.tell():,} bytes from its beginning; fetch it again")
            (length,) = struct.unpack("<Q", head[:8])
            if length > MOST:
                raise BadInput(f"{path}: says that a record has {length:,} bytes; it holds something else")
            if not check:
                file.seek(length + 4, 1)
                yield b""
                continue
            data = file.read(length)
            if len(data) < length or _masked_crc(data) != file.read(4):
                raise BadInput(f"{path}: damaged {file.tell():,} bytes from its beginning; fetch it again")
            yield data


def parse_example(record: bytes) -> dict[str, list[bytes]]:
    """The features of an Example that hold bytes, by name.

    Raises:
        ValueError, IndexError: it is none, or damaged.
    """
    # Example.features = 1; Features.feature = 1, a map: key = 1, value = 2; Feature.bytes_list = 1; BytesList.value = 1
    found = {}
    for features in _fields(record, 1):
        for entry in _fields(features, 1):
            name = b"".join(_fields(entry, 1)).decode()
            lists = [values for feature in _fields(entry, 2) for values in _fields(feature, 1)]
            if lists:
                found[name] = [value for values in lists for value in _fields(values, 1)]
    return found


def _fields(message: bytes, wanted: int) -> Iterator[bytes]:
    """The values of the fields number ``wanted`` of a protocol buffer that are bytes or messages."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, wire = key >> 3, key & 7
        if wire == 0:
            _, place = _varint(message, place)
        elif wire in (1, 5):
            place += 8 if wire == 1 else 4
        elif wire == 2:
            length, place = _varint(message, place)
            if place + length > len(message):
                raise ValueError("a field is longer than the record")
            if number == wanted:
                yield message[place : place + length]
            place += length
        else:
            raise ValueError(f"a field of wire type {wire}")


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _masked_crc(data: bytes) -> bytes:
    try:
        import google_crc32c  # needed for nothing else
    except ImportError as error:
        raise BadInput("BAIR's files need google-crc32c; pip install 'moga-st[bair]'") from error
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
