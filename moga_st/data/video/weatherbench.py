"""WeatherBench's NetCDF files as prepared clips: hourly or 6-hourly maps of one or several variables, in their units.

Files are ``weather_5_625deg/LONG_NAME/*.nc``, any number of years each, as WeatherBench gives them out.  A channel is
a variable, or one level of it: ``t2m``; ``r`` is relative humidity at the file's last level, as the field's loaders
take it; ``r150`` at 150 hPa.  Networks see (value - mean) / std of the training years, in the test years too.

Needs xarray and a reader of NetCDF: ``pip install 'moga-st[weather]'``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from moga_st.data.video.prepared_clips import Split, check_space, write_clips
from moga_st.data.video.published import runs, windows_from_end, within
from moga_st.errors import BadInput, nearest
from moga_st.storage import open_grid

VARIABLES = {
    "t2m": ("2m_temperature", "t2m", "K"),
    "r": ("relative_humidity", "r", "%"),
    "u10": ("10m_u_component_of_wind", "u10", "m/s"),
    "v10": ("10m_v_component_of_wind", "v10", "m/s"),
    "tcc": ("total_cloud_cover", "tcc", "1"),
    "t": ("temperature", "t", "K"),
    "u": ("u_component_of_wind", "u", "m/s"),
    "v": ("v_component_of_wind", "v", "m/s"),
    "z": ("geopotential", "z", "m2/s2"),
    "tp": ("total_precipitation", "tp", "m"),
}
"""Short name: folder and file, the name inside, and the unit."""
SEVERAL = tuple(f"{v}{level}" for v in "rtuv" for level in (150, 500, 850))
"""The channels of the published experiment with several variables, 6-hourly."""
SOURCE = "WeatherBench (Rasp et al., JAMES 2020), of ERA5 (Hersbach et al., QJRMS 2020)"
LICENCE = "Copernicus licence: contains modified Copernicus Climate Change Service information; cite both papers"
HOUR_S = 3600
AT_ONCE = 512  # maps read at once


class Channel(NamedTuple):
    """One map of every hour."""

    name: str  # t2m, r150
    folder: str
    variable: str
    unit: str
    level_hpa: int | None


def prepare(
    source: Path,
    out: Path,
    variables: tuple[str, ...] = ("t2m",),
    step_hours: int = 1,
    train: tuple[int, int] = (2010, 2015),
    val: tuple[int, int] = (2016, 2016),
    test: tuple[int, int] = (2017, 2018),
    window: int = 24,
) -> None:
    """Write the prepared file of some variables of WeatherBench.

    Args:
        source: The folder weather_5_625deg (or of another resolution), or one with it.
        out: The file to write.
        variables: Short names: t2m, r, u10, v10, tcc, t, u, v, z, tp; with a level in hPa where there are several, such
            as r150. "several" stands for r, t, u, v at 150, 500, 850 hPa.
        step_hours: Hours between two frames; 6 for the published experiment with several variables.
        train: First and last year of training; the published ones are 2010 2015, for several variables 1979 2015.
        val: First and last year of validation.
        test: First and last year of the test.
        window: Frames of a test window, every one of which is scored: 24 for 12 in, 12 out; 8 for 4 in, 4 out.

    Raises:
        BadInput: xarray is missing, an unknown variable or level, no files, or years that are not in them.
    """
    names = [n for v in variables for n in (SEVERAL if v == "several" else (v,))]
    channels = [parse_channel(name) for name in names]
    root = within(source, "weather_5_625deg", channels[0].folder)
    years: dict[Split, tuple[int, int]] = {"train": train, "val": val, "test": test}
    units = list(dict.fromkeys(c.unit for c in channels))
    conventions = {
        "mse, rmse, mae": "means over the map, in the variables' units; mse_published is the sum over channels, rows "
        "and columns divided by their number",
        "split": ", ".join(f"{name} {first}-{last}" for name, (first, last) in years.items()),
        "windows": f"test: every one of {window} frames",
        "standardised": "by mean and standard deviation of the training years, in test too; the published tables took "
        "the test years' own",
    }
    about = {"unit": ", ".join(units), "fps": 1 / (step_hours * HOUR_S), "conventions": conventions}
    with ExitStack() as stack:
        maps = [stack.enter_context(_Maps(root, channel)) for channel in channels]
        times = sorted(set.intersection(*(set(m.where) for m in maps)))
        within_years = sum(a <= _year(t) <= b and t % step_hours == 0 for t in times for a, b in years.values())
        total = check_space(out, within_years, (*maps[0].read(times[:1]).shape[1:], len(maps)), 4)
        writer = stack.enter_context(write_clips(out, SOURCE, LICENCE, names, frames=total, **about))
        for split, (first, last) in years.items():
            wanted = [t for t in times if first <= _year(t) <= last and t % step_hours == 0]
            if not wanted:
                raise BadInput(f"{root}: holds no {step_hours}-hourly maps of {', '.join(names)} in {first} to {last}")
            for run in runs(wanted, step_hours):
                hours = wanted[run]
                time_s = np.asarray(hours, np.float64) * HOUR_S
                starts = windows_from_end(len(hours), window, 1) if split == "test" else None
                name = f"{split}/{_moment(hours[0])}"
                writer.add_clip(split, name, _frames(maps, hours), starts=starts, time_s=time_s)


def parse_channel(name: str) -> Channel:
    """What ``t2m`` or ``r150`` means.

    Raises:
        BadInput: no such variable.
    """
    match = re.fullmatch(r"([a-z]+)(\d*)", name)
    if name in VARIABLES:
        short, level = name, None
    elif match and match[1] in VARIABLES:
        short, level = match[1], int(match[2])
    else:
        known = ", ".join(VARIABLES)
        raise BadInput(f"variable {name!r}: unknown{nearest(name, VARIABLES)}; there are {known}, with a level: r150")
    return Channel(name, *VARIABLES[short], level)


def _frames(maps: Sequence[_Maps], hours: Sequence[int]) -> Iterator[np.ndarray]:
    """Frames (h, w, c) float32 of consecutive hours since 1970."""
    for first in range(0, len(hours), AT_ONCE):
        part = hours[first : first + AT_ONCE]
        yield from np.stack([m.read(part) for m in maps], -1)


class _Maps:
    """One channel over all files of its folder, in a ``with``."""

    def __init__(self, root: Path, channel: Channel):
        self.channel = channel
        paths = sorted((root / channel.folder).glob("*.nc"))
        if not paths:
            raise BadInput(f"{root / channel.folder}: holds no .nc files; add WeatherBench's {channel.folder}")
        self.where: dict[int, tuple[int, int]] = {}  # hour since 1970: number of the file, and index in it
        self.stack, self.arrays = ExitStack(), []
        for i, path in enumerate(paths):
            try:
                file = self.stack.enter_context(open_grid(path))
                array = self._of_level(file[channel.variable], path)
                hours = file["time"].values.astype("datetime64[h]").astype(np.int64)
                self.arrays.append((path, array.transpose("time", ...)))
            except BadInput:
                self.stack.close()
                raise
            except Exception as error:  # xarray and its engines raise whatever they like
                self.stack.close()
                text = next(iter(str(error).splitlines()), type(error).__name__)
                raise BadInput(
                    f"{path}: cannot be read as maps of {channel.variable} ({text}); fetch it again"
                ) from error
            self.where.update((hour, (i, k)) for k, hour in enumerate(hours.tolist()))

    def __enter__(self) -> _Maps:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def read(self, hours: Sequence[int]) -> np.ndarray:
        """Maps (n, h, w) float32 of some hours, which the files have."""
        places = [self.where[hour] for hour in hours]
        parts = []
        for run in runs([i for i, _ in places], 0):
            path, array = self.arrays[places[run.start][0]]
            parts.append(array.isel(time=[k for _, k in places[run]]).values)
            if parts[-1].ndim != 3:
                raise BadInput(
                    f"{path}: {self.channel.variable} has shape {parts[-1].shape}, expected (time, lat, lon)"
                )
        return np.concatenate(parts).astype(np.float32)

    def _of_level(self, array: Any, path: Path) -> Any:
        level = self.channel.level_hpa
        if "level" not in array.dims:
            if level is not None:
                raise BadInput(f"{path}: has one level, but {self.channel.name} asks for {level} hPa")
            return array
        if level is None:
            return array.isel(level=-1)
        if level not in array["level"].values:
            there = ", ".join(f"{x:g}" for x in array["level"].values)
            raise BadInput(f"{path}: has no level {level} hPa; it has {there}")
        return array.sel(level=level)


def _year(hour: int) -> int:
    return int(np.datetime64(hour, "h").astype("datetime64[Y]").astype(int)) + 1970


def _moment(hour: int) -> str:
    return str(np.datetime64(hour, "h"))
