import h5py
import numpy as np
import pytest

from moga_st.data.video import sevir
from moga_st.errors import BadInput
from tests.data.video.prepared import read

COLUMNS = "id,file_name,file_index,img_type,time_utc"


def write(path, events, frames=26):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("vil", (events, 384, 384, frames), np.uint8, chunks=(1, 384, 384, 1), fillvalue=0)
        for i in range(events):
            data[i, :192, :, 3] = 10 + i  # the upper half of frame 3


def test_split_by_the_catalogues_dates(tmp_path):
    write(tmp_path / "data" / "vil" / "2018" / "A.h5", 2)
    write(tmp_path / "data" / "vil" / "2019" / "B.h5", 3, frames=37)
    rows = [
        "R1,vil/2018/A.h5,1,vil,2018-12-31 23:00:00",
        "R1,ir069/2018/X.h5,0,ir069,2018-12-31 23:00:00",
        "S2,vil/2019/B.h5,2,vil,2019-06-01 00:00:00",
        "S3,vil/2019/B.h5,0,vil,2019-05-31 23:59:59",
        "S2,vil/2019/B.h5,1,vil,2019-06-01 00:00:00",
        "S4,vil/2017/not_fetched.h5,0,vil,2017-06-01 00:00:00",
    ]
    (tmp_path / "CATALOG.csv").write_text("\n".join([COLUMNS, *rows]))
    sevir.prepare(tmp_path, tmp_path / "out.h5", size=4)
    about, parts = read(tmp_path / "out.h5")
    assert list(about["channels"]) == ["vil"]
    assert about["fps"] == pytest.approx(1 / 300)
    assert [parts[s].name for s in ("train", "val", "test")] == [["R1"], ["S3"], ["S2"]]
    assert parts["train"].frames.shape == (26, 4, 4, 1)
    assert parts["train"].frames[3, :, :, 0].tolist() == [[11] * 4] * 2 + [[0] * 4] * 2
    assert parts["val"].frames[3].max() == 10
    assert parts["val"].start == [0, 12]
    assert parts["test"].frames[3].max() == 12
    assert parts["test"].frames.sum() == 12 * 8


def test_files_of_ones_own_are_split_by_file(tmp_path):
    for name in ("a", "b", "c"):
        write(tmp_path / f"{name}.h5", 2)
    sevir.prepare(tmp_path, tmp_path / "out.h5", size=2)
    _, parts = read(tmp_path / "out.h5")
    assert [parts[s].name for s in ("train", "val", "test")] == [["a/0", "a/1"], ["b/0", "b/1"], ["c/0", "c/1"]]
    assert parts["test"].start == [0, 26]


def test_shrinking_is_the_mean_of_blocks():
    frame = np.random.default_rng(0).integers(0, 256, (384, 384), np.uint8)
    got = sevir.shrink(frame, 128)
    assert got.dtype == np.uint8
    assert got[5, 7] == np.rint(frame[15:18, 21:24].mean())
    assert sevir.shrink(frame, 384) is frame


def test_bad_catalogues_and_files(tmp_path):
    with pytest.raises(BadInput, match=r"has no CATALOG.csv, and 0 \.h5 files"):
        sevir.prepare(tmp_path, tmp_path / "out.h5")
    with pytest.raises(BadInput, match="a divisor of it, got 100"):
        sevir.prepare(tmp_path, tmp_path / "out.h5", size=100)
    write(tmp_path / "vil" / "A.h5", 1)
    catalogue = tmp_path / "CATALOG.csv"
    for text, match in (
        ("id,file_name", "has no column file_index"),
        (f"{COLUMNS}\nR1,vil/none.h5,0,vil,2018-01-01 00:00:00", "none of its vil files"),
        (f"{COLUMNS}\nR1,vil/A.h5,0,vil,yesterday", "line 2"),
        (f"{COLUMNS}\nR1,../A.h5,0,vil,2018-01-01 00:00:00", "outside of its folder"),
        (f"{COLUMNS}\nR1,vil/A.h5,7,vil,2018-01-01 00:00:00", "holds 1 events, the catalogue names number 7"),
    ):
        catalogue.write_text(text)
        with pytest.raises(BadInput, match=match):
            sevir.prepare(tmp_path, tmp_path / "out.h5")
