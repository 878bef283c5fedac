"""What a browser would see of a page."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any


class Page(HTMLParser):
    """Visible text, tags with their attributes, tables as rows of cells, and the figures that the script draws."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source, self.tags, self.tables = source, [], []
        self.words: list[str] = []
        self._raw: str | None = None
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._raw = tag
        elif tag == "table":
            self.tables.append([])
        elif tag == "tr" and self.tables:
            self.tables[-1].append([])
        elif tag in ("td", "th") and self.tables:
            self.tables[-1][-1].append("")
            self._cell = True
        elif tag == "section":
            self._cell = False

    def handle_endtag(self, tag: str) -> None:
        if tag == self._raw:
            self._raw = None
        if tag in ("td", "th"):
            self._cell = False
        if tag not in ("span", "strong", "i", "code"):
            self.words.append(" ")

    _cell = False

    def handle_data(self, data: str) -> None:
        if self._raw:
            return
        self.words.append(data)
        if self._cell:
            self.tables[-1][-1][-1] += data

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def table(self, heading: str) -> list[list[str]]:
        """The rows of the table whose first cell is `heading`, the heading row first."""
        return next(table for table in self.tables if table[0][0] == heading)

    @property
    def figures(self) -> dict[str, dict[str, Any]]:
        found = re.search(r"const figures = (\[.*?\]);\n", self.source)
        return {figure["name"]: figure for figure in json.loads(found.group(1))} if found else {}
