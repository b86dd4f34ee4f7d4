import json
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from moga_st.data.video.clips import open_clip
from moga_st.errors import BadInput
from moga_st.storage import open_grid

xarray = pytest.importorskip("xarray")
VALUES = np.random.default_rng(0).random((4, 3, 5)).astype(np.float32)
DATA = xarray.Dataset({"u": (("time", "y", "x"), VALUES, {"units": "m/s"})}, {"time": np.arange(4.0)})


@pytest.mark.parametrize("form", ["NETCDF3_CLASSIC", "NETCDF3_64BIT", "NETCDF4"])
def test_netcdf_is_read(form, tmp_path):
    DATA.to_netcdf(tmp_path / "a.nc", format=form)
    np.testing.assert_array_equal(open_grid(tmp_path / "a.nc")["u"].values, VALUES)


def test_netcdf_that_has_another_file_read_is_refused(tmp_path):
    DATA.to_netcdf(tmp_path / "a.nc", format="NETCDF4")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = VALUES
    with h5py.File(tmp_path / "a.nc", "a") as file:
        file["u2"] = h5py.ExternalLink("other.h5", "/x")
    for variables, dimensions in (((), ()), (("u", "u2"), ()), (("u",), ("time", "y", "x"))):
        with pytest.raises(BadInput, match="u2 is a link to another place or file"):
            open_clip(tmp_path / "a.nc", variables, dimensions)


class Attack:
    def __reduce__(self):
        return (Path.write_text, (Path("attacked"), "yes"))


def zarr_store(path: Path, **array: object) -> Path:
    """A store of version 2 with one coordinate, which xarray reads at once."""
    meta = {"zarr_format": 2, "shape": [2], "chunks": [2], "dtype": "<i8", "compressor": None, "fill_value": 0}
    (path / "time").mkdir(parents=True)
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    (path / "time/.zarray").write_text(json.dumps({**meta, "order": "C", "filters": None, **array}))
    (path / "time/.zattrs").write_text('{"_ARRAY_DIMENSIONS": ["time"]}')
    (path / "time/0").write_bytes(pickle.dumps(Attack()))
    return path


@pytest.mark.parametrize(
    "array",
    [
        {"filters": [{"id": "pickle"}]},
        {"filters": [{"id": "vlen-utf8"}, {"id": "pickle"}], "dtype": "|O"},
        {"compressor": {"id": "pickle"}},
        {"compressor": {"id": "bz2"}},
    ],
)
def test_a_store_with_a_codec_that_runs_code_or_makes_bombs_is_refused(array, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=r"\.zarray: is packed with '(pickle|bz2)'"):
        open_clip(zarr_store(tmp_path / "a.zarr", **array))
    assert not Path("attacked").exists()


def test_a_store_with_a_huge_coordinate_or_chunk_is_refused(tmp_path):
    for name, array in {"a": {"shape": [10**12]}, "b": {"chunks": [10**12]}, "c": {"dtype": "|V9"}}.items():
        with pytest.raises(BadInput, match=r"\.zarray: "):
            open_grid(zarr_store(tmp_path / name, **array))


def test_a_store_with_a_link_is_refused(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(16))
    store = zarr_store(tmp_path / "a.zarr")
    (store / "time/0").unlink()
    (store / "time/0").symlink_to(secret)
    with pytest.raises(BadInput, match=r"time/0: a link; copy what it names into the store"):
        open_grid(store)


def test_a_store_is_read(tmp_path):
    pytest.importorskip("zarr")
    for version in (2, 3):
        DATA.to_zarr(tmp_path / f"{version}.zarr", zarr_format=version, consolidated=version == 2)
        np.testing.assert_array_equal(open_grid(tmp_path / f"{version}.zarr")["u"].values, VALUES)
