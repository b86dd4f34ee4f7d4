from typing import Any

import numpy as np
import pytest
import xarray

from moga_st.data.video import weatherbench
from moga_st.errors import BadInput
from tests.data.video.prepared import read

YEARS: dict[str, Any] = {"train": (2014, 2015), "val": (2016, 2016), "test": (2017, 2017)}


def hours(first: str, count: int) -> np.ndarray:
    return np.datetime64(first, "h") + np.arange(count)


def value(time: np.ndarray, level: float = 0.0) -> np.ndarray:
    """(n, 2, 4): different everywhere, and too large for float16."""
    hour = time.astype("datetime64[h]").astype(np.int64) - 385_000
    return (hour[:, None, None] + level * 100_000 + np.arange(8).reshape(2, 4) / 16).astype(np.float32)


def write(root, folder, name, spans, levels=None):
    (root / folder).mkdir(parents=True)
    for first, count in spans:
        time = hours(first, count)
        if levels is None:
            data, dims = value(time), ("time", "lat", "lon")
        else:
            data, dims = np.stack([value(time, x) for x in levels], 1), ("time", "level", "lat", "lon")
        coords = {"time": time.astype("datetime64[ns]"), "lat": [-45.0, 45.0], "lon": [0.0, 90.0, 180.0, 270.0]}
        if levels is not None:
            coords["level"] = np.array(levels, np.int32)
        file = xarray.Dataset({name: (dims, data)}, coords=coords)
        file.to_netcdf(root / folder / f"{folder}_{first[:4]}_5.625deg.nc", engine="h5netcdf")


SPANS = [("2014-12-31T20", 10), ("2015-12-31T20", 10), ("2016-12-31T22", 8)]


def test_years_units_and_moments(tmp_path):
    root = tmp_path / "weather_5_625deg"
    write(root, "2m_temperature", "t2m", SPANS)
    weatherbench.prepare(tmp_path, tmp_path / "out.h5", window=4, **YEARS)
    about, parts = read(tmp_path / "out.h5")
    assert list(about["channels"]) == ["t2m"]
    assert about["unit"] == "K"
    assert about["standardise"]
    assert about["fps"] == pytest.approx(1 / 3600)
    # 2014-12-31T20 to 2015-01-01T05 is one row of hours over the year's end, 2015-12-31 is another
    assert parts["train"].first == [0, 10, 14]
    assert parts["train"].name == ["train/2014-12-31T20", "train/2015-12-31T20"]
    assert parts["val"].first == [0, 6, 8]  # the first of January, and 2016-12-31T22
    assert parts["test"].first == [0, 6]
    assert parts["test"].start == [0, 1, 2]  # every window is scored
    assert parts["val"].start is None
    expected = np.concatenate([value(hours("2014-12-31T20", 10)), value(hours("2015-12-31T20", 4))])
    np.testing.assert_array_equal(parts["train"].frames[..., 0], expected)
    np.testing.assert_allclose(about["mean"], expected.mean(dtype=np.float64), rtol=1e-7)
    np.testing.assert_allclose(about["std"], expected.std(dtype=np.float64), rtol=1e-6)
    assert parts["test"].time_s is not None
    assert parts["test"].time_s[0] == np.datetime64("2017-01-01").astype("datetime64[s]").astype(float)
    np.testing.assert_array_equal(np.diff(parts["test"].time_s), 3600)


def test_several_variables_levels_and_six_hours(tmp_path):
    root = tmp_path / "data"
    for i, (folder, name) in enumerate([("relative_humidity", "r"), ("temperature", "t")]):
        write(root, folder, name, [(s, n + 30 - i) for s, n in SPANS], levels=[150, 500, 1000])
    weatherbench.prepare(root, tmp_path / "out.h5", variables=("r", "t500", "r150"), step_hours=6, **YEARS)
    about, parts = read(tmp_path / "out.h5")
    assert list(about["channels"]) == ["r", "t500", "r150"]
    assert about["unit"] == "%, K"
    assert about["fps"] == pytest.approx(1 / 21_600)
    time = np.datetime64("2017-01-01T00", "h") + 6 * np.arange(6)
    # the last level of r, which is what the field's loaders take
    expected = np.stack([value(time, 1000), value(time, 500), value(time, 150)], -1)
    np.testing.assert_array_equal(parts["test"].frames, expected)


def test_several_is_the_published_twelve():
    assert len(weatherbench.SEVERAL) == 12
    assert weatherbench.SEVERAL[:4] == ("r150", "r500", "r850", "t150")
    channel = weatherbench.parse_channel("u850")
    assert (channel.folder, channel.variable, channel.unit, channel.level_hpa) == (
        "u_component_of_wind",
        "u",
        "m/s",
        850,
    )
    assert weatherbench.parse_channel("u10").folder == "10m_u_component_of_wind"  # not u at 10 hPa


def test_what_is_not_there_is_named(tmp_path):
    root = tmp_path / "weather_5_625deg"
    write(root, "2m_temperature", "t2m", SPANS)
    write(root, "temperature", "t", SPANS, levels=[500, 850])
    for variables, years, match in (
        (("t2n",), YEARS, r"variable 't2n': unknown \(did you mean 't2m'\?\)"),
        (("t150",), YEARS, r"has no level 150 hPa; it has 500, 850"),
        (("t2m",), {**YEARS, "test": (2030, 2031)}, "holds no 1-hourly maps of t2m in 2030 to 2031"),
        (("tcc",), YEARS, "has no total_cloud_cover"),
        (("t2m", "tcc"), YEARS, r"total_cloud_cover: holds no \.nc files"),
    ):
        with pytest.raises(BadInput, match=match):
            weatherbench.prepare(tmp_path, tmp_path / "out.h5", variables=variables, **years)
    (root / "2m_temperature" / "bad.nc").write_bytes(b"no file")
    with pytest.raises(BadInput, match=r"bad\.nc: cannot be read"):
        weatherbench.prepare(tmp_path, tmp_path / "out.h5", **YEARS)
