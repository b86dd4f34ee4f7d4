import h5py
import numpy as np
import pytest

from moga_st import storage
from moga_st.errors import BadInput


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret.bin"
    np.arange(10.0).tofile(path)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.arange(10.0)
    return path


def forged(tmp_path, secret, kind):
    path = tmp_path / f"{kind}.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("a/b")
        group["fine"] = np.ones(3)
        if kind == "external":
            group.create_dataset("x", (10,), "f8", external=[(str(secret), 0, 80)])
        elif kind == "soft":
            group["x"] = h5py.SoftLink("/nowhere")
        elif kind == "link":
            group["x"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/x")
        elif kind == "virtual":
            layout = h5py.VirtualLayout((10,), "f8")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (10,))
            group.create_virtual_dataset("x", layout)
        elif kind == "bomb":
            group.create_dataset("x", (10**7, 10**7), "f8", chunks=(1000, 1000), compression="gzip")
        elif kind == "filter":
            made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            made.set_chunk((10,))
            made.set_scaleoffset(h5py.h5z.SO_INT, 0)
            h5py.h5d.create(group.id, b"x", h5py.h5t.NATIVE_INT32, h5py.h5s.create_simple((10,)), made)
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("external", "is stored in other files"),
        ("soft", "is a link to another place or file"),
        ("link", "is a link to another place or file"),
        ("virtual", "is a virtual data set"),
        ("bomb", "declares .* bytes and holds 0"),
        ("filter", "is packed with filter 6"),
    ],
)
def test_files_that_read_others_or_grow_are_refused(tmp_path, secret, kind, said):
    path = forged(tmp_path, secret, kind)
    with pytest.raises(BadInput, match=rf"{kind}\.h5: a/b/x {said}"), storage.open_hdf5(path):
        pytest.fail("opened")


def test_groups_nested_without_end_are_refused(tmp_path):
    for depth, fine in ((30, True), (2000, False)):  # a file of 2 MB, whose names together have as many characters
        path = tmp_path / f"{depth}.h5"
        with h5py.File(path, "w") as file:
            group = file
            for _ in range(depth):
                group = group.create_group("g")
        if fine:
            with storage.open_hdf5(path) as file:
                assert file["g/" * depth].name == "/g" * depth
            continue
        with pytest.raises(BadInput, match=r"2000\.h5: holds groups nested more than 32 deep"), storage.open_hdf5(path):
            pytest.fail("opened")


def test_plain_files_are_read(tmp_path):
    path = tmp_path / "a.h5"
    x = np.random.default_rng(0).random((50, 3)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file.create_dataset("g/x", data=x, compression="gzip", shuffle=True, fletcher32=True)
        file.create_dataset("lzf", data=x, compression="lzf")
        file.create_dataset("text", data="words")
        file["again"] = file["g"]  # a hard link: another name in the same file
        file["g"].attrs.update(name="é", n=3, fps=np.float32(2.5), odd=np.arange(3))
        file["g/loop"] = file["g"]
    with storage.open_hdf5(path) as file:
        np.testing.assert_array_equal(storage.read_dataset(file["again/x"]), x)
        np.testing.assert_array_equal(storage.read_dataset(file["lzf"]), x)
        got = [storage.attribute(file["g"], *a) for a in (("name", str), ("n", int), ("fps", float), ("n", float))]
        assert got == ["é", 3, 2.5, 3.0]
    for bad, said in (
        (lambda f: storage.read_dataset(f["text"]), "expected an array of numbers"),
        (lambda f: storage.read_dataset(f["g"]), "expected an array of numbers"),
        (lambda f: storage.attribute(f["g"], "odd", str), "attribute odd of /g: expected str, it is array"),
        (lambda f: storage.attribute(f["g"], "none", str), "there is none"),
        (lambda f: storage.attribute(f["g"], "name", int), "expected int, it is 'é'"),
        (lambda f: f["nothing"], "damaged, or not as expected"),
    ):
        with pytest.raises(BadInput, match=said), storage.open_hdf5(path) as file:
            bad(file)


def test_the_limit_holds_for_a_whole_data_set(tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.zeros(10**6), chunks=(1000,), compression="gzip")
    monkeypatch.setenv("MOGA_ST_MAX_GB", "0.001")
    with storage.open_hdf5(path) as file:
        assert file["x"][5:8].tolist() == [0, 0, 0]  # a part of it is no matter
        with pytest.raises(BadInput, match="raise the limit"):
            storage.read_dataset(file["x"])


def test_damage_is_one_line(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(1000.0)
    raw = path.read_bytes()
    for content in (b"", b"junk" * 100, raw[:-500], raw[:40]):
        path.write_bytes(content)
        with pytest.raises(BadInput, match=r"^[^\n]*a\.h5: [^\n]*$"), storage.open_hdf5(path) as file:
            storage.read_dataset(file["x"])
