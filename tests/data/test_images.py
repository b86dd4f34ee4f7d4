import gzip
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moga_st.data.images import (
    CIFARConfig,
    FashionMNISTImagesConfig,
    FolderConfig,
    KuzushijiMNISTImagesConfig,
    MNISTImagesConfig,
    find_images,
    read_image,
)
from moga_st.errors import BadInput


def picture(h: int = 6, w: int = 8) -> np.ndarray:
    """A red gradient that is brightest at the top left, blue everywhere."""
    y, x = np.mgrid[:h, :w]
    return np.stack([255 - 15 * (x + y), np.zeros((h, w)), np.full((h, w), 100)], -1).astype(np.uint8)


def folder(root: Path, classes: dict[str, int]) -> None:
    """So many images a class; the class is told by the grey value."""
    for i, (name, count) in enumerate(classes.items()):
        (root / name).mkdir(parents=True)
        for k in range(count):
            Image.new("L", (9, 7), 60 * i).save(root / name / f"{name}{k:03d}.png")


# one image


def test_images_are_read_as_a_person_sees_them(tmp_path):
    rgb = picture()
    path = tmp_path / "x.png"
    Image.fromarray(rgb).save(path)
    assert np.array_equal(read_image(path), rgb)
    grey = np.asarray(Image.fromarray(rgb).convert("L"))
    assert np.array_equal(read_image(path, 1), grey[..., None])

    Image.fromarray(rgb).convert("P", palette=Image.Palette.ADAPTIVE).save(path)
    assert np.abs(read_image(path).astype(int) - rgb).max() < 30

    Image.fromarray(grey).save(path)
    assert np.array_equal(read_image(path), np.repeat(grey[..., None], 3, 2))


def test_an_image_is_turned_as_its_exif_says(tmp_path):
    rgb = picture()
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: turn it by 90 degrees to the right
    Image.fromarray(np.rot90(rgb)).save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "x.png"), rgb)
    exif[0x0112] = 2  # mirrored
    Image.fromarray(rgb[:, ::-1]).save(tmp_path / "x.tif", exif=exif)
    assert np.array_equal(read_image(tmp_path / "x.tif"), rgb)


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path):
    values = np.array([[0, 257, 25_700, 65_535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png", 1)[..., 0].tolist() == [[0, 1, 100, 255]]
    Image.fromarray(values.astype(np.int32)).save(tmp_path / "x.tif")
    assert read_image(tmp_path / "x.tif", 1)[..., 0].tolist() == [[0, 1, 100, 255]]


def test_cmyk_has_its_colours_and_transparent_lies_on_white(tmp_path):
    cmyk = np.zeros((2, 2, 4), np.uint8)
    cmyk[..., 0] = 255  # cyan ink alone takes the red away
    Image.fromarray(cmyk, "CMYK").save(tmp_path / "x.tif")
    assert read_image(tmp_path / "x.tif")[0, 0].tolist() == [0, 255, 255]
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, :, :] = (200, 10, 20, 255)
    Image.fromarray(rgba).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png")[:, 0].tolist() == [[200, 10, 20], [255, 255, 255]]
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([9, 9, 9, 0, 0, 250])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "p.png", transparency=0)
    assert read_image(tmp_path / "p.png")[0].tolist() == [[255, 255, 255], [0, 0, 250]]


def test_what_cannot_be_used_is_refused_in_one_line(tmp_path):
    def refused(path: Path, message: str) -> None:
        with pytest.raises(BadInput, match=message) as error:
            read_image(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)

    refused(tmp_path / "none.png", "no such file")
    refused(tmp_path, "folder")
    (tmp_path / "text.png").write_text("hello " * 50)
    refused(tmp_path / "text.png", "no image that can be read")
    (tmp_path / "empty.jpg").touch()
    refused(tmp_path / "empty.jpg", "no image that can be read")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "x.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "x.jpg").read_bytes()[:700])
    refused(tmp_path / "cut.jpg", "cannot be read as an image")
    frames = [Image.new("L", (4, 4), v) for v in (0, 100, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    refused(tmp_path / "a.gif", "has 3 frames")
    Image.fromarray(np.ones((3, 3), np.float32)).save(tmp_path / "f.tif")
    refused(tmp_path / "f.tif", "floating-point")
    Image.fromarray(np.array([[70_000]], np.int32)).save(tmp_path / "i.tif")
    refused(tmp_path / "i.tif", "beyond 16 bits")
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:])
    refused(tmp_path / "a.webp", "has 3 frames")
    Image.new("L", (201, 1)).save(tmp_path / "thread.png")
    refused(tmp_path / "thread.png", "201x1 pixels")
    Image.new("L", (200, 1)).save(tmp_path / "strip.png")
    assert read_image(tmp_path / "strip.png").shape == (1, 200, 3)


def test_images_of_a_folder_are_found(tmp_path):
    folder(tmp_path / "set", {"a": 2, "b": 1})
    (tmp_path / "set" / "notes.txt").write_text("no image")
    assert [p.name for p in find_images(tmp_path / "set")] == ["a000.png", "a001.png", "b000.png"]
    assert find_images(tmp_path / "set" / "notes.txt") == [tmp_path / "set" / "notes.txt"]  # the file that was named
    (tmp_path / "e").mkdir()
    for path, message in ((tmp_path / "e", "holds no image"), (tmp_path / "no", "no such image or folder")):
        with pytest.raises(BadInput, match=message):
            find_images(path)


# folders


def test_a_folder_of_class_folders_is_split_by_names_for_good(tmp_path):
    folder(tmp_path / "pets", {"cat": 60, "dog": 60})
    config = FolderConfig(Path("pets"), val_share=0.2, test_share=0.2)
    images = config.load(tmp_path)
    assert images.classes == ("cat", "dog")
    names = {s: set(p.names or []) for s, p in images.parts.items()}
    assert sum(map(len, names.values())) == len(set.union(*names.values())) == 120
    assert all(10 < len(names[s]) < 40 for s in ("val", "test"))
    for part in images.parts.values():
        for i in (0, len(part) - 1):
            assert part.image(i, 3).shape == (7, 9, 3)
            assert (part.image(i, 1) == 60 * part.labels[i]).all()
    before = images.fingerprint
    Image.new("L", (9, 7)).save(tmp_path / "pets" / "cat" / "new.png")
    again = config.load(tmp_path)
    assert again.fingerprint != before
    for split, part in again.parts.items():
        assert set(part.names or []) - {"cat/new.png"} == names[split]


def test_imagenets_layout_tests_on_val_and_holds_out_of_train(tmp_path):
    folder(tmp_path / "in" / "train", {"n01": 40, "n02": 40})
    folder(tmp_path / "in" / "val", {"n01": 3, "n02": 2})
    images = FolderConfig(tmp_path / "in", val_share=0.25).load(Path("/nowhere"))
    assert sorted(images.parts["test"].names or []) == [
        f"val/{n}/{n}{k:03d}.png" for n, c in (("n01", 3), ("n02", 2)) for k in range(c)
    ]
    assert all(n.startswith("train/") for s in ("train", "val") for n in images.parts[s].names or [])
    assert len(images.parts["train"]) + len(images.parts["val"]) == 80
    folder(tmp_path / "in" / "test", {"n02": 1, "n01": 1})
    images = FolderConfig(tmp_path / "in").load(Path("/nowhere"))
    assert [len(images.parts[s]) for s in ("train", "val", "test")] == [80, 5, 2]
    assert images.parts["test"].labels.tolist() == [0, 1]


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no such folder"):
        FolderConfig(Path("no")).load(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="holds no folder with images"):
        FolderConfig(Path("empty")).load(tmp_path)
    folder(tmp_path / "one", {"a": 3})
    with pytest.raises(BadInput, match="images of 1 class"):
        FolderConfig(Path("one")).load(tmp_path)
    folder(tmp_path / "two" / "train", {"a": 30, "b": 30})
    folder(tmp_path / "two" / "val", {"a": 3, "z": 3})
    with pytest.raises(BadInput, match="test has the class 'z'"):
        FolderConfig(Path("two")).load(tmp_path)
    folder(tmp_path / "few", {"a": 1, "b": 1})
    with pytest.raises(BadInput, match="too few images"):
        FolderConfig(Path("few")).load(tmp_path)
    with pytest.raises(BadInput, match="leave some to train on"):
        FolderConfig(val_share=0.6, test_share=0.4)


# torchvision's small sets


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    raw = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


def idx_set(root: Path, train: int = 24, test: int = 5) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for name, count, suffix in (("train", train, ".gz"), ("t10k", test, "")):
        labels = np.arange(count) % 10
        pixels = np.broadcast_to(20 * labels[:, None, None], (count, 6, 6))
        write_idx(root / f"{name}-images-idx3-ubyte{suffix}", pixels)
        write_idx(root / f"{name}-labels-idx1-ubyte{suffix}", labels)


@pytest.mark.parametrize(
    ("config", "place"),
    [
        (MNISTImagesConfig(), "MNIST/raw"),
        (FashionMNISTImagesConfig(), "."),
        (KuzushijiMNISTImagesConfig(), "KMNIST/raw"),
    ],
)
def test_idx_files_give_images_with_their_labels(tmp_path, config, place):
    idx_set(tmp_path / place)
    images = config.load(tmp_path)
    assert len(images.classes) == 10
    assert images.size == (6, 6)
    assert [len(images.parts[s]) for s in ("train", "val", "test")] == [22, 2, 5]
    assert images.parts["val"].labels.tolist() == [0, 2]  # numbers 0 and 12
    for part in images.parts.values():
        for i in range(len(part)):
            assert (part.image(i, 1) == 20 * part.labels[i]).all()


def test_damaged_idx_files_are_refused(tmp_path):
    idx_set(tmp_path)
    labels = tmp_path / "t10k-labels-idx1-ubyte"
    good = labels.read_bytes()
    for bad, message in (
        (good[:-1], r"header says \(5,\), it holds 4 bytes"),
        (b"junk" * 9, "not an idx file"),
        (good[:-1] + b"\x0b", "does not fit"),
    ):
        labels.write_bytes(bad)
        with pytest.raises(BadInput, match=message):
            MNISTImagesConfig().load(tmp_path)
    labels.unlink()
    with pytest.raises(BadInput, match="lacks t10k-labels-idx1-ubyte"):
        MNISTImagesConfig().load(tmp_path)
    with pytest.raises(BadInput, match="CIFAR-10 is in none of"):
        CIFARConfig().load(tmp_path)


@pytest.mark.parametrize("classes", [10, 100])
def test_cifars_binary_files(tmp_path, classes):
    rng = np.random.default_rng(0)
    where = tmp_path / ("cifar-10-batches-bin" if classes == 10 else "cifar-100-binary")
    where.mkdir()
    files = [f"data_batch_{i}.bin" for i in range(1, 6)] if classes == 10 else ["train.bin"]
    names = "batches.meta.txt" if classes == 10 else "fine_label_names.txt"
    (where / names).write_text("\n".join(f"class{i}" for i in range(classes)) + "\n\n")
    written = []
    for file in [*files, "test_batch.bin" if classes == 10 else "test.bin"]:
        labels, pixels = rng.integers(0, classes, 6), rng.integers(0, 255, (6, 32, 32, 3), np.uint8)
        rows = [
            bytes([0] * (classes == 100) + [k]) + p.transpose(2, 0, 1).tobytes()
            for k, p in zip(labels, pixels, strict=True)
        ]
        (where / file).write_bytes(b"".join(rows))
        written.append((labels, pixels))
    images = CIFARConfig(classes).load(tmp_path)  # type: ignore[arg-type]
    assert images.classes[3] == "class3"
    test = images.parts["test"]
    assert test.labels.tolist() == written[-1][0].tolist()
    assert np.array_equal(test.image(4, 3), written[-1][1][4])
    assert np.array_equal(images.parts["val"].image(0, 3), written[0][1][0])
    assert np.array_equal(images.parts["train"].image(0, 3), written[0][1][1])
    (where / files[0]).write_bytes(b"x" * 100)
    with pytest.raises(BadInput, match="no multiple"):
        CIFARConfig(classes).load(tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("python", [2, 3])
def test_cifars_pickles_as_torchvision_fetches_them(tmp_path, classes, python):
    """Python 2 wrote the real ones: their strings are bytes here."""
    rng = np.random.default_rng(0)
    where = tmp_path / ("cifar-10-batches-py" if classes == 10 else "cifar-100-python")
    where.mkdir()
    batches = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"] if classes == 10 else ["train", "test"]
    key, names = ("labels", "label_names") if classes == 10 else ("fine_labels", "fine_label_names")

    def write(file: str, content: dict) -> None:
        if python == 2:
            content = {
                k.encode(): [x.encode() if isinstance(x, str) else x for x in v] if isinstance(v, list) else v
                for k, v in content.items()
            }
        (where / file).write_bytes(pickle.dumps(content, 2))

    write("batches.meta" if classes == 10 else "meta", {names: [f"class{i}" for i in range(classes)]})
    written = []
    for batch in batches:
        labels, pixels = rng.integers(0, classes, 6).tolist(), rng.integers(0, 255, (6, 32, 32, 3), np.uint8)
        coarse = {"coarse_labels": [0] * 6} if classes == 100 else {}
        write(batch, {"data": pixels.transpose(0, 3, 1, 2).reshape(6, 3072), key: labels, **coarse})
        written.append((labels, pixels))
    images = CIFARConfig(classes).load(tmp_path)  # type: ignore[arg-type]
    assert images.classes[3] == "class3"
    assert images.parts["test"].labels.tolist() == written[-1][0]
    assert np.array_equal(images.parts["test"].image(4, 3), written[-1][1][4])
    assert np.array_equal(images.parts["train"].image(0, 3), written[0][1][1])

    def refused(file: str, content: dict, message: str) -> None:
        write(file, content)
        with pytest.raises(BadInput, match=message):
            CIFARConfig(classes).load(tmp_path)  # type: ignore[arg-type]

    refused(batches[-1], {"data": np.zeros((2, 9), np.uint8), key: [0, 1]}, "expected uint8 images")
    refused(batches[-1], {"data": np.zeros((2, 3072), np.uint8), key: [0]}, "expected uint8 images")
    refused(batches[-1], {"data": np.zeros((1, 3072), np.uint8), key: [classes]}, "names, expected")
    refused(batches[-1], {"data": np.zeros((1, 3072), np.uint8)}, "expected a dict with")
    (where / batches[-1]).write_bytes(pickle.dumps(Path("x")))  # which code would have to make
    with pytest.raises(BadInput, match=batches[-1]):
        CIFARConfig(classes).load(tmp_path)  # type: ignore[arg-type]
    (where / batches[-1]).unlink()
    with pytest.raises(BadInput, match=f"lacks {batches[-1]}"):
        CIFARConfig(classes).load(tmp_path)  # type: ignore[arg-type]
