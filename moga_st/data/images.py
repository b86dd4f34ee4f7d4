"""Still images with classes: folders of them, and torchvision's small sets.

Shape legend: ``n`` images, ``h w c`` height, width and channels; pixels are uint8.

The splits: **test** is what is scored and published, **val** chooses among checkpoints and is always held out of the
training images (peers choose on the test images), **train** is the rest.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from moga_st.config import Config
from moga_st.errors import BadInput
from moga_st.storage import check_size, open_picture, read_bytes, read_pickle, unpack_gzip

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".jp2"}
MOST_PIXELS = 200_000_000
LONGEST = 200  # times as long as wide: resizing a thread of pixels to a network's size would fill the memory
RGB, GREY = ("red", "green", "blue"), ("grey",)
Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Part:
    """One split: labels (n,) int64, and images by number."""

    labels: np.ndarray
    names: list[str] | None = None
    """Their paths, in the folder; None for images that are kept as an array."""
    array: np.ndarray | None = None
    """(n, h, w, c) uint8 where the images are kept in memory."""
    root: Path | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, number: int, channels: int) -> np.ndarray:
        """Image ``number``: uint8 (h, w, c).

        Raises:
            BadInput: see :func:`read_image`.
        """
        if self.array is not None:
            return self.array[number]
        assert self.root is not None
        assert self.names is not None
        return read_image(self.root / self.names[number], channels)


@dataclass(frozen=True)
class Images:
    """A set of images with classes."""

    classes: tuple[str, ...]
    channels: tuple[str, ...]
    parts: dict[Split, Part]
    source: str  # for people
    fingerprint: str  # for machines: a resumed run must find the same images
    size: tuple[int, int] | None = None
    """Height and width where all images have the same."""


@dataclass(frozen=True)
class ImagesConfig(Config, rooms=("moga_st.data",)):
    """A source of images; ``load(root)`` gives them."""

    def load(self, root: Path) -> Images:
        raise NotImplementedError


@dataclass(frozen=True)
class FolderConfig(ImagesConfig, kind="image_folder"):
    """A folder with a folder of images for each class, or ImageNet's layout: such folders in ``train`` and in ``val``
    or ``test``.

    Raises:
        BadInput: a share out of range.
    """

    folder: Path = Path("imagenet")
    """The folder; a relative one is looked for in the data root."""
    val_share: float = 0.1
    """Share of the training images that is held out for validation, chosen by their names; not used where there are
    folders `train`, `val` and `test`."""
    test_share: float = 0.1
    """Share that is held out as the test set, where no folder is one."""
    grey: bool = False
    """Read one grey channel in place of red, green, blue."""

    def __post_init__(self) -> None:
        if not (0 < self.val_share < 1 and 0 < self.test_share < 1 and self.val_share + self.test_share < 1):
            raise BadInput(
                f"val_share, test_share: expected shares that leave some to train on, got {self.val_share}, "
                f"{self.test_share}"
            )

    def load(self, root: Path) -> Images:
        folder = self.folder if self.folder.is_absolute() else root / self.folder
        if not folder.is_dir():
            raise BadInput(
                f"{folder}: no such folder; expected a folder of images for each class in it (the data root is {root})"
            )
        given = [s for s in ("train", "val", "test") if (folder / s).is_dir()]
        if "train" in given and len(given) > 1:
            found = {s: _scan(folder / s, folder) for s in given}
            test = found["test"] if "test" in given else found["val"]
            train, val = found["train"], found["val"] if len(given) == 3 else []
            layout = " and ".join(given)
        else:
            train, val, test, layout = _scan(folder, folder), [], None, "a folder a class"
        classes = tuple(sorted({c for c, _ in train}))
        if len(classes) < 2:
            raise BadInput(f"{folder}: holds images of {len(classes)} class, expected a folder for each of at least 2")
        splits: dict[str, list[tuple[str, str]]] = {"train": [], "val": [*val], "test": [*(test or [])]}
        for item in train:
            share = _draw(item[1]) - (self.test_share if test is None else 0.0)
            held = "test" if share < 0 else "val" if not val and share < self.val_share else "train"
            splits[held].append(item)
        for name, items in splits.items():
            strangers = {c for c, _ in items} - set(classes)
            if strangers:
                raise BadInput(
                    f"{folder}: {name} has the class {min(strangers)!r}, of which there is no training image"
                )
            if not items:
                raise BadInput(f"{folder}: too few images, none is left for {name}; raise the shares or add images")
        index = {c: i for i, c in enumerate(classes)}
        parts: Any = {
            name: Part(np.array([index[c] for c, _ in items]), [p for _, p in items], root=folder)
            for name, items in splits.items()
        }
        counts = ", ".join(f"{len(p):,} {n}" for n, p in parts.items())
        digest = hashlib.sha256("\n".join(p for n in splits for _, p in splits[n]).encode()).hexdigest()[:16]
        source = f"{folder.name} ({layout}): {len(classes)} classes, images: {counts}"
        return Images(classes, GREY if self.grey else RGB, parts, source, digest)


@dataclass(frozen=True)
class MNISTImagesConfig(ImagesConfig, kind="mnist_images"):
    """MNIST (LeCun, Cortes, Burges): 60,000 and 10,000 grey digits of 28x28, in idx files."""

    folders: ClassVar[tuple[str, ...]] = (".", "mnist", "MNIST/raw")
    classes: ClassVar[tuple[str, ...]] = tuple("0123456789")
    title: ClassVar[str] = "MNIST"

    def load(self, root: Path) -> Images:
        folders = [root / f for f in self.folders]
        names = [
            "train-images-idx3-ubyte",
            "train-labels-idx1-ubyte",
            "t10k-images-idx3-ubyte",
            "t10k-labels-idx1-ubyte",
        ]
        arrays = [_read_idx(p) for p in _find(self.title, folders, names)]
        for images, labels, name in ((arrays[0], arrays[1], names[1]), (arrays[2], arrays[3], names[3])):
            if images.ndim != 3 or labels.shape != images.shape[:1] or labels.max() >= len(self.classes):
                raise BadInput(f"{self.title}: {name} does not fit its images; fetch the files again")
        train, test = (Part(arrays[i + 1].astype(np.int64), array=arrays[i][..., None]) for i in (0, 2))
        return _held_out(self.title, self.classes, GREY, train, test)


@dataclass(frozen=True)
class FashionMNISTImagesConfig(MNISTImagesConfig, kind="fashion_mnist_images"):
    """Fashion-MNIST (arXiv 1708.07747): 60,000 and 10,000 grey clothes of 28x28, in idx files."""

    # the last is where Debian's package dataset-fashion-mnist puts them
    folders: ClassVar[tuple[str, ...]] = (
        ".", "fashion-mnist", "FashionMNIST/raw", "/usr/share/datasets/fashion-mnist",
    )  # fmt: skip
    classes: ClassVar[tuple[str, ...]] = (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    )  # fmt: skip
    title: ClassVar[str] = "Fashion-MNIST"


@dataclass(frozen=True)
class KuzushijiMNISTImagesConfig(MNISTImagesConfig, kind="kmnist_images"):
    """Kuzushiji-MNIST (arXiv 1812.01718): 60,000 and 10,000 grey cursive hiragana of 28x28, in idx files."""

    folders: ClassVar[tuple[str, ...]] = (".", "kmnist", "KMNIST/raw")
    classes: ClassVar[tuple[str, ...]] = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
    title: ClassVar[str] = "Kuzushiji-MNIST"


@dataclass(frozen=True)
class CIFARConfig(ImagesConfig, kind="cifar"):
    """CIFAR-10 or CIFAR-100 (Krizhevsky 2009): 50,000 and 10,000 images of 32x32, in the files of the binary version or
    of the Python version, which torchvision fetches (pickles, of which only plain data is taken)."""

    classes: Literal[10, 100] = 10
    """Which of the two."""

    def load(self, root: Path) -> Images:
        title = f"CIFAR-{self.classes}"
        if self.classes == 10:
            binary, meta, python = "cifar-10-batches-bin", "batches.meta.txt", "cifar-10-batches-py"
            batches = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
            keys = ("labels", "label_names")
            python_meta = "batches.meta"
        else:
            binary, meta, python = "cifar-100-binary", "fine_label_names.txt", "cifar-100-python"
            batches, keys, python_meta = ["train", "test"], ("fine_labels", "fine_label_names"), "meta"
        places = [root, root / "cifar", root / "cifar10", root / "cifar100"]
        if any((place / python).is_dir() for place in places):
            *paths, names = _find(title, [p / python for p in places], [*batches, python_meta])
            classes = _cifar_value(names, keys[1], list)
            read = [_cifar_pickle(p, keys[0]) for p in paths]
        else:
            labels = 1 if self.classes == 10 else 2  # a coarse label stands before the fine one
            folders = [p / binary for p in places] + places
            *paths, names = _find(title, folders, [*(f"{b}.bin" for b in batches), meta])
            classes = read_bytes(names).decode(errors="replace").split()
            read = [_cifar_binary(p, labels, title) for p in paths]
        if len(classes) != self.classes or max(int(numbers.max()) for _, numbers in read) >= self.classes:
            raise BadInput(
                f"{names}: has {len(classes)} names, expected {self.classes} that fit the labels; fetch it again"
            )
        train, test = read[:-1], read[-1]
        pixels, numbers = (np.concatenate(x) for x in zip(*train, strict=True))
        return _held_out(
            title, tuple(map(str, classes)), RGB, Part(numbers, array=pixels), Part(test[1], array=test[0])
        )


def _cifar_binary(path: Path, labels: int, title: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 32, 32, 3) and classes (n,) of rows: ``labels`` bytes, of which the last counts, and the pixels."""
    row = np.frombuffer(read_bytes(path), np.uint8)
    if not row.size or row.size % (labels + 3072):
        raise BadInput(f"{path}: {title}'s images are {labels + 3072} bytes each, this is no multiple; fetch it again")
    table = row.reshape(-1, labels + 3072)
    return _cifar_pixels(table[:, labels:]), table[:, labels - 1].astype(np.int64)


def _cifar_pickle(path: Path, key: str) -> tuple[np.ndarray, np.ndarray]:
    """The same of a pickled dict."""
    data, numbers = _cifar_value(path, "data", np.ndarray), _cifar_value(path, key, list)
    fits = data.dtype == np.uint8 and data.ndim == 2 and data.shape[1] == 3072 and len(data) == len(numbers) > 0
    if not fits or not all(isinstance(n, int) and 0 <= n < 256 for n in numbers):
        raise BadInput(f"{path}: expected uint8 images (n, 3072) under 'data' and n {key}; fetch it again")
    return _cifar_pixels(data), np.array(numbers, np.int64)


def _cifar_value(path: Path, key: str, kind: type) -> Any:
    content = read_pickle(path)
    value: Any = content.get(key, content.get(key.encode())) if isinstance(content, dict) else None
    if not isinstance(value, kind):
        raise BadInput(f"{path}: expected a dict with {key!r}; fetch it again")
    if not isinstance(value, list):
        return value
    return [v.decode(errors="replace") if isinstance(v, bytes) else v for v in value]


def _cifar_pixels(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def read_image(path: Path, channels: int = 3) -> np.ndarray:
    """An image file as a person sees it: uint8 (h, w, channels), 3 for red, green, blue and 1 for grey.

    Turned as its EXIF says; CMYK and palettes as their colours; 16 bits scaled to 8; what is transparent lies on white.

    Raises:
        BadInput: no image, a damaged, empty or enormous one, one of several frames, or of values without a scale.
    """
    try:
        with open_picture(path) as image:
            if getattr(image, "n_frames", 1) > 1:
                raise BadInput(f"{path}: has {image.n_frames} frames, expected a still image; save one of them alone")  # type: ignore[attr-defined]
            if image.width * image.height > MOST_PIXELS:
                raise BadInput(f"{path}: {image.width}x{image.height} pixels, expected at most {MOST_PIXELS:,}")
            if max(image.size) > LONGEST * min(image.size):
                raise BadInput(f"{path}: {image.width}x{image.height} pixels, expected sides of at most 1:{LONGEST}")
            check_size(path, "the picture with what is made of it", image.width * image.height * 16)
            return _pixels(ImageOps.exif_transpose(image), path, channels)
    except BadInput:
        raise
    except UnidentifiedImageError as error:
        raise BadInput(
            f"{path}: is no image that can be read; expected JPEG, PNG, WebP, TIFF, BMP, GIF or PPM"
        ) from error
    except Exception as error:  # every format's reader raises its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(f"{path}: cannot be read as an image ({reason}); fetch it again or remove it") from error


def _pixels(image: Image.Image, path: Path, channels: int) -> np.ndarray:
    if image.mode == "F":
        raise BadInput(f"{path}: holds floating-point values, whose scale is not known; save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip to 255
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65_535:
            raise BadInput(f"{path}: holds values beyond 16 bits, whose scale is not known; save it with 8 or 16 bits")
        image = Image.fromarray(((values * 255 + 32_767) // 65_535).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    array = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return array[..., None] if channels == 1 else array


def find_images(path: Path) -> list[Path]:
    """The image files of a folder and the folders in it, in order; or the file itself.

    Raises:
        BadInput: nothing there, or no image in it.
    """
    if not path.exists():
        raise BadInput(f"{path}: no such image or folder")
    if not path.is_dir():
        return [path]
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise BadInput(f"{path}: holds no image ({', '.join(sorted(SUFFIXES))})")
    return found


def _scan(folder: Path, root: Path) -> list[tuple[str, str]]:
    """(class, path within ``root``) of every image in the folders of ``folder``, in order."""
    items = []
    for sub in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        files = sorted(p for p in sub.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
        items += [(sub.name, p.relative_to(root).as_posix()) for p in files]
    if not items:
        raise BadInput(f"{folder}: holds no folder with images; expected a folder of images for each class")
    return items


def _draw(name: str) -> float:
    """A number in [0, 1) that belongs to a name: which split it is in does not change as others come and go."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "little") / 2**48


def _held_out(title: str, classes: tuple[str, ...], channels: tuple[str, ...], train: Part, test: Part) -> Images:
    """Every twelfth training image, whatever the order of the classes, is for validation: 5,000 of 60,000."""
    assert train.array is not None
    assert test.array is not None
    held = np.arange(len(train)) % 12 == 0
    parts: dict[Split, Part] = {
        "train": Part(train.labels[~held], array=train.array[~held]),
        "val": Part(train.labels[held], array=train.array[held]),
        "test": test,
    }
    digest = hashlib.sha256()
    for array in (train.array, train.labels, test.array, test.labels):
        digest.update(array.tobytes())
    source = (
        f"{title}, {len(train):,} training images ({held.sum():,} of them for validation), {len(test):,} test images"
    )
    return Images(classes, channels, parts, source, digest.hexdigest()[:16], train.array.shape[1:3])


def _find(title: str, folders: list[Path], names: list[str]) -> list[Path]:
    """The files in the first folder that has any of them, packed with gzip or not."""
    for folder in folders:
        paths = {n: p for n in names for p in (folder / f"{n}.gz", folder / n) if p.is_file()}
        if len(paths) == len(names):
            return [paths[n] for n in names]
        if paths:
            missing = ", ".join(n for n in names if n not in paths)
            raise BadInput(f"{folder}: has {', '.join(paths)} but lacks {missing}; add it")
    raise BadInput(
        f"{title} is in none of {', '.join(map(str, folders))}; put {', '.join(names)} into one of them, "
        f"as torchvision or {title}'s own page has them"
        + (", or install Debian's dataset-fashion-mnist" if "Fashion" in title else "")
    )


def _read_idx(path: Path) -> np.ndarray:
    """The uint8 array in an idx file, packed with gzip or not."""
    raw = read_bytes(path)
    raw = unpack_gzip(raw, path) if raw[:2] == b"\x1f\x8b" else raw
    dims = raw[3] if len(raw) > 4 and raw[:3] == b"\x00\x00\x08" else 0
    if not 1 <= dims <= 4 or len(raw) < 4 + 4 * dims:
        raise BadInput(f"{path}: not an idx file of bytes; fetch it again")
    shape = struct.unpack(f">{dims}I", raw[4 : 4 + 4 * dims])
    if len(raw) != 4 + 4 * dims + int(np.prod(shape, dtype=object)):
        raise BadInput(f"{path}: its header says {shape}, it holds {len(raw) - 4 - 4 * dims:,} bytes; fetch it again")
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * dims).reshape(shape).copy()  # what a buffer lends is read-only
