"""Pictures for made-up goods: a plain drawing in the product's colour, the same for the same product."""

import io
from random import Random

from PIL import Image, ImageColor, ImageDraw

WIDTH, HEIGHT = 1200, 900
MARGIN = 150
PAPER = "#f4f1ea"
INK = "#2b2b2b"
TINTS = {"graphite": "#41424c", "sand": "#d8c3a5", "rose": "#e8a0a8", "white": "#ffffff"}


def draw(title: str, colour: str) -> bytes:
    """Return a PNG of 1200 by 900 pixels; an unknown colour is drawn in grey."""
    random = Random(title)
    picture = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen = ImageDraw.Draw(picture)
    tint = _tint(colour)
    for _ in range(random.randint(2, 5)):
        left = random.randint(MARGIN, WIDTH // 2)
        top = random.randint(MARGIN, HEIGHT // 2)
        right = random.randint(WIDTH // 2 + 50, WIDTH - MARGIN)
        bottom = random.randint(HEIGHT // 2 + 50, HEIGHT - MARGIN)
        pen.rounded_rectangle(
            (left, top, right, bottom), radius=40, fill=tint, outline=INK, width=6
        )
    pen.text((60, HEIGHT - 90), title, fill=INK, font_size=42)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _tint(colour: str) -> tuple[int, ...]:
    try:
        return ImageColor.getrgb(TINTS.get(colour.lower(), colour.lower()))
    except ValueError:
        return ImageColor.getrgb("grey")
