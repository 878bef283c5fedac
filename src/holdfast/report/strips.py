"""Captioned strips: a few panels side by side under a title, and sheets of strips."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageDraw, ImageFont

from holdfast.report.pictures import PAPER

TEXT, SOFT = (27, 31, 36), (91, 100, 112)
GAP = 8
SIGNS = str.maketrans({"×": "x", "→": "->", "∞": "inf", "–": "-", "ß": "ss"})

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Panel:
    """One picture and the lines below it."""

    image: Image.Image
    lines: tuple[str, ...]


@cache
def font(size: int) -> Font:
    """The font that comes with Pillow, so that captions look alike everywhere."""
    return ImageFont.load_default(size)


def strip(title: str, panels: Sequence[Panel], size: int = 13) -> Image.Image:
    """The panels in one row on white, `title` above, each panel's lines below it in letters of `size` pixels, cut to its width."""
    line = size + 4
    width = sum(panel.image.width for panel in panels) + GAP * (len(panels) + 1)
    tall = max(panel.image.height for panel in panels)
    top = GAP + line if title else GAP
    canvas = Image.new("RGB", (width, top + tall + max(len(panel.lines) for panel in panels) * line + GAP), PAPER)
    pen = ImageDraw.Draw(canvas)
    pen.text((GAP, GAP // 2), cut(title, width - 2 * GAP, size), TEXT, font(size))
    left = GAP
    for panel in panels:
        image = panel.image.convert("RGBA")
        canvas.paste(image, (left, top), image)
        for place, words in enumerate(panel.lines):
            where = (left, top + tall + 3 + place * line)
            pen.text(where, cut(words, panel.image.width + GAP - 2, size), TEXT if place == 0 else SOFT, font(size))
        left += panel.image.width + GAP
    return canvas


def sheet(strips: Sequence[Image.Image], width: int = 1500) -> Image.Image:
    """The strips in reading order, as many columns as `width` pixels hold."""
    wide, tall = max(item.width for item in strips), max(item.height for item in strips)
    columns = max(1, min(len(strips), width // wide))
    canvas = Image.new("RGB", (wide * columns, tall * -(-len(strips) // columns)), PAPER)
    for place, item in enumerate(strips):
        canvas.paste(item, (place % columns * wide, place // columns * tall))
    return canvas


def plain(words: str) -> str:
    """The words in the letters that Pillow's font has, ASCII: accents fall away, what has no such letter becomes `?`.

    >>> plain("Fuß, Löwe ×3")
    'Fuss, Lowe x3'
    """
    letters = unicodedata.normalize("NFKD", words.translate(SIGNS))
    return "".join(letter for letter in letters if not unicodedata.combining(letter)).encode("ascii", "replace").decode()


def cut(words: str, width: int, size: int) -> str:
    """The words in plain letters, or as many of them as fit `width` pixels, and an ellipsis."""
    words = plain(words)
    if font(size).getlength(words) <= width:
        return words
    while words and font(size).getlength(words + "…") > width:
        words = words[:-1]
    return words + "…"
