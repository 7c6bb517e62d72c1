"""A PNG of one grey level."""

from io import BytesIO

from PIL import Image


def small_png(grey: int) -> bytes:
    """Three pixels wide, two high."""
    file = BytesIO()
    Image.new("RGB", (3, 2), (grey, grey, grey)).save(file, "PNG")
    return file.getvalue()
