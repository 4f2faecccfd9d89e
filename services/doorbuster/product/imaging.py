"""Pictures made for showing: what somebody uploaded is decoded, turned upright, stripped of all else and scaled."""

import asyncio
import io
import warnings
from concurrent.futures import ThreadPoolExecutor

from PIL import Image, ImageOps

from .domain.pictures import (
    LARGE_PIXELS,
    THUMBNAIL_PIXELS,
    BadPictureError,
    Rendition,
    Renditions,
)

MOST_PIXELS = 36_000_000  # a few hundred MB while it is decoded; cameras of telephones stay below
FEWEST_PIXELS_A_SIDE = 16
QUALITY = 82
_TOO_LARGE = f"the picture has more than {MOST_PIXELS} pixels"
_FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}


class PillowStudio:
    """Develops one picture at a time, off the event loop: two at once would double the memory."""

    def __init__(self) -> None:
        self._room = ThreadPoolExecutor(max_workers=1, thread_name_prefix="studio")

    async def develop(self, data: bytes, content_type: str) -> Renditions:
        """Return both sizes; raises BadPictureError."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._room, develop, data, content_type)

    def close(self) -> None:
        """Let the thread end."""
        self._room.shutdown(wait=False, cancel_futures=True)


def develop(data: bytes, content_type: str) -> Renditions:
    """Return both sizes of a picture of the promised kind; raises BadPictureError.

    Only the decoder of that kind is tried, and the size in its header is judged before anything is decoded.
    """
    wanted = _FORMATS[content_type]
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures; our own limit is lower.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=[wanted]) as picture:
                _judge(*picture.size)
                picture.draft("RGB", (LARGE_PIXELS, LARGE_PIXELS))
                upright = ImageOps.exif_transpose(picture)
                plain = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    except BadPictureError:
        raise
    except Image.DecompressionBombError as error:  # so far beyond that Pillow does not wait for us
        raise BadPictureError(_TOO_LARGE) from error
    except Exception as error:  # a decoder fed with anything raises anything
        raise BadPictureError(f"the file is no {wanted} picture") from error
    plain.thumbnail((LARGE_PIXELS, LARGE_PIXELS))
    large = _encode(plain)
    plain.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    return Renditions(large=large, thumbnail=_encode(plain))


def _judge(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise BadPictureError(_TOO_LARGE)
    if min(width, height) < FEWEST_PIXELS_A_SIDE:
        raise BadPictureError("the picture is too small to be seen")


def _encode(picture: Image.Image) -> Rendition:
    # A new image: nothing but the pixels goes on, no place, no camera, no comment.
    bare = Image.new(picture.mode, picture.size)
    bare.paste(picture)
    out = io.BytesIO()
    bare.save(out, "WEBP", quality=QUALITY, method=4)
    return Rendition(data=out.getvalue(), width=picture.width, height=picture.height)
