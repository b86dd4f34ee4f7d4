import numpy as np
import pytest

from moga_st.data.video import taxibj
from moga_st.errors import BadInput
from tests.data.video.prepared import read


def samples(recording: np.ndarray) -> np.ndarray:
    return np.stack([recording[i : i + 8] for i in range(len(recording) - 7)])


def write(path, train, test, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {"X_train": train[:, :4], "Y_train": train[:, 4:], "X_test": test[:, :4], "Y_test": test[:, 4:]}
    np.savez(path, **{**arrays, **more})


def made(frames: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (frames, 2, 3, 4)).astype(np.float32)


def test_samples_of_one_recording_are_put_together_and_are_its_windows(tmp_path):
    a, b, c = made(30, 0), made(12, 1), made(10, 2)
    train = np.concatenate([samples(a), samples(b)])  # 23 + 5
    write(tmp_path / "taxibj" / "dataset.npz", train, samples(c)[[2, 0, 1]])
    taxibj.prepare(tmp_path, tmp_path / "out.h5")
    about, parts = read(tmp_path / "out.h5")
    assert list(about["channels"]) == ["inflow", "outflow"]
    assert not about["standardise"]
    assert about["unit"] == ""
    assert about["fps"] == pytest.approx(1 / 1800)
    # 28 samples: the last two validate, the seven before share frames with them
    assert parts["train"].first == [0, 19 + 7]
    np.testing.assert_allclose(parts["train"].frames.transpose(0, 3, 1, 2), (a[:26] + 1) / 2, rtol=1e-6)
    assert parts["val"].first == [0, 2 + 7]
    np.testing.assert_allclose(parts["val"].frames.transpose(0, 3, 1, 2), (b[3:] + 1) / 2, rtol=1e-6)
    # samples in another order are no recording; those that follow each other are
    assert parts["test"].first == [0, 8, 17]
    np.testing.assert_allclose(parts["test"].clip(0).transpose(0, 3, 1, 2), (c[2:] + 1) / 2, rtol=1e-6)
    assert parts["train"].start is parts["val"].start is None
    assert parts["test"].start == [0, 8, 9]
    windows = [
        parts["train"].frames[i : i + 8]
        for first, end in zip(parts["train"].first, parts["train"].first[1:], strict=False)
        for i in range(first, end - 7)
    ]
    np.testing.assert_allclose(np.stack(windows).transpose(0, 1, 4, 2, 3) * 2 - 1, train[:19], atol=1e-6)


def test_any_samples_come_back_as_windows():
    made_up = np.random.default_rng(5)
    given = made_up.integers(0, 3, (40, 3, 1, 1, 1)).astype(np.float32)  # so few values that some follow by chance
    back = [clip[i : i + 3] for clip in taxibj.joined(given) for i in range(len(clip) - 2)]
    np.testing.assert_array_equal(np.stack(back), given)
    assert sum(map(len, taxibj.joined(given))) < 120


def test_other_arrays_are_refused(tmp_path):
    path, train, test = tmp_path / "dataset.npz", samples(made(30, 0)), samples(made(9, 1))
    for more, match in (
        ({"X_train": train[:, :4] * 40}, r"X_train holds values outside of \[-1, 1\]"),
        ({"Y_test": np.full_like(test[:, 4:], np.nan)}, r"Y_test holds values outside"),
        ({"Y_train": train[:-1, 4:]}, "do not belong together"),
        ({"X_test": test[:, :4, :1]}, r"X_test is float32 .* expected floats \(n, 4, 2, 32, 32\)"),
    ):
        write(path, train, test, **more)
        with pytest.raises(BadInput, match=match):
            taxibj.prepare(path, tmp_path / "out.h5")
    write(path, train[:8], test)
    with pytest.raises(BadInput, match="8 training samples are too few"):
        taxibj.prepare(path, tmp_path / "out.h5")
    np.savez(path, X_train=train[:, :4])
    with pytest.raises(BadInput, match="lacks Y_train"):
        taxibj.prepare(path, tmp_path / "out.h5")
