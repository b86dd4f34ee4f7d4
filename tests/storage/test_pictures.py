import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from moga_st.data import images
from moga_st.data.video import published
from moga_st.errors import BadInput
from moga_st.storage import open_picture

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(attacked) (w) file closefile\n%%EOF\n"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000"])
def test_pictures_are_told_by_content(kind, tmp_path):
    path = tmp_path / "a.txt"
    Image.fromarray(np.full((8, 8, 3), 200, np.uint8)).save(path, kind)
    with open_picture(path) as image, open_picture(path.read_bytes()) as again:
        assert (image.size, again.size) == ((8, 8), (8, 8))


def test_a_program_is_never_run_on_a_picture(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(EPS)
    with Image.open(path) as image:
        assert image.format == "EPS"  # whose pixels Pillow has Ghostscript make
    with pytest.raises(UnidentifiedImageError), open_picture(path):
        pass
    for read in (images.read_image, published.read_image):
        with pytest.raises(BadInput, match=r"a\.png"):
            read(path)


def test_a_picture_of_too_many_pixels_is_refused_before_they_are_decoded(tmp_path, monkeypatch):
    monkeypatch.setenv("MOGA_ST_MAX_GB", "0.5")
    raw = bytearray(b"BM" + bytes(52))
    raw[10:14], raw[14:18] = (54).to_bytes(4, "little"), (40).to_bytes(4, "little")
    raw[18:22] = raw[22:26] = (9_000).to_bytes(4, "little")
    raw[26:30] = b"\1\0\x18\0"
    (tmp_path / "a.bmp").write_bytes(raw)
    for read in (images.read_image, published.read_image):
        with pytest.raises(BadInput, match=r"9000 x 9000|would take"):
            read(tmp_path / "a.bmp")
