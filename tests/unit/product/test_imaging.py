"""What comes out of an upload: both sizes, upright, without anything but pixels; and what does not come in."""

import io
import struct
import zlib

import pytest
from PIL import Image

from doorbuster.product import imaging
from doorbuster.product.domain.pictures import BadPictureError

KINDS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}


def picture(width: int, height: int, kind: str = "PNG", mode: str = "RGB", **how: object) -> bytes:
    out = io.BytesIO()
    Image.new(mode, (width, height), 120 if mode in "LP" else None).save(out, kind, **how)
    return out.getvalue()


def shown(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=["WEBP"])


@pytest.mark.parametrize("content_type", KINDS)
def test_each_kind_becomes_two_sizes(content_type: str) -> None:
    made = imaging.develop(picture(2000, 200, KINDS[content_type]), content_type)
    assert (made.large.width, made.large.height) == (1600, 160) == shown(made.large.data).size
    assert shown(made.thumbnail.data).size == (320, 32)


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "CMYK", "LA", "I;16"])
def test_every_way_of_colours_is_shown(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    made = imaging.develop(picture(40, 30, kind, mode), f"image/{kind.lower()}")
    assert shown(made.large.data).mode == ("RGBA" if mode in ("RGBA", "LA") else "RGB")


def test_a_small_picture_is_not_blown_up() -> None:
    assert imaging.develop(picture(50, 40), "image/png").large.width == 50


def test_a_picture_is_turned_upright_and_keeps_no_word_about_where_it_was_taken() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    exif[0x010F] = "Secret Camera"
    made = imaging.develop(picture(100, 60, "JPEG", exif=exif, comment=b"at home"), "image/jpeg")
    assert (made.large.width, made.large.height) == (60, 100)
    assert b"Secret" not in made.large.data
    assert b"at home" not in made.large.data
    assert not dict(shown(made.large.data).getexif())


def bomb(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and is not."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "content_type", "reason"),
    [
        (b"", "image/png", "no PNG"),
        (b"<svg onload=alert(1)>", "image/webp", "no WEBP"),
        (picture(50, 50, "JPEG"), "image/png", "no PNG"),
        (picture(50, 50, "GIF", "P"), "image/jpeg", "no JPEG"),
        (picture(200, 200, "JPEG")[:400], "image/jpeg", "no JPEG"),
        (bomb(50_000, 50_000), "image/png", "more than"),
        (bomb(7_000, 7_000), "image/png", "more than"),
        (bomb(100, 100), "image/png", "no PNG"),
        (picture(5, 500), "image/png", "too small"),
    ],
    ids=[
        "empty",
        "script",
        "other_kind",
        "foreign_kind",
        "cut_off",
        "bomb",
        "large",
        "hollow",
        "sliver",
    ],
)
def test_what_is_not_the_promised_picture_is_refused(
    data: bytes, content_type: str, reason: str
) -> None:
    with pytest.raises(BadPictureError, match=reason):
        imaging.develop(data, content_type)


def test_of_a_moving_picture_the_first_frame_is_shown() -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    out = io.BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:])
    made = imaging.develop(out.getvalue(), "image/webp")
    assert getattr(shown(made.large.data), "n_frames", 1) == 1
