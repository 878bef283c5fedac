"""Writes docs/attacks: a page per method of the catalogue, from its docstring, and a picture of what it does.

    python scripts/attack_pages.py              all pages, and the pictures that are missing
    python scripts/attack_pages.py --draw NAME  the pictures of these methods again (without names: of all)

Pictures are `attack_pictures.py`'s; the call that made one is kept inside it.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable
from doctest import DocTestParser
from pathlib import Path
from typing import Any

from attack_pictures import draw
from PIL import Image

from holdfast import catalogue

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "attacks"
ROOMS = ("holdfast.attacks", "holdfast.training.shared", "holdfast.synthesis", "holdfast.exact")
SHOWS = {
    "row": "clean, adversarial, difference", "shared": "one perturbation, inputs without it and with it",
    "synthesis": "an image for each class", "exact": "the smallest change in each norm",
}  # fmt: skip
EQUATION = re.compile(r"[=←∈≤Π∇]|\bmin|\bmax")


def rows() -> list[dict[str, Any]]:
    """What the catalogue lists, in its order."""
    return catalogue.listing("attacks")


def maker(name: str) -> Callable[..., Any] | None:
    """The public function (or class) of that name, wherever its kind lives; None where it has none."""
    for room in ROOMS:
        try:
            found = getattr(importlib.import_module(room), name, None)
        except ModuleNotFoundError:
            continue
        if callable(found):
            return found
    return None


def picture(name: str) -> Path:
    return PAGES / "pictures" / f"{name}.png"


def page(row: dict[str, Any]) -> str:
    """The page of one method: from the catalogue's row, the docstring, and the call that its picture remembers."""
    name, make = row["name"], maker(row["name"])
    lines = [f"# {name}", ""]
    summary, *rest = paragraphs(make) if make else [row["summary"]]
    lines += [summary, ""]
    file, form = picture(name), ""
    if file.exists():
        with Image.open(file) as image:
            words = image.text["Description"]
        lines += [f"![{name}: {SHOWS[row['kind']]}](pictures/{file.name})", "", words + ".", ""]
        form = words.split("`")[1] if row["kind"] in ("row", "shared") else ""
    facts = {
        "kind": row["kind"], "access": row["access"], "threats": ", ".join(row["threats"]),
        "looks for": ("the smallest change" if row["minimum_norm"] else "any change within the threat") if row["threats"] else "",
        "paper": row["paper"],
    }  # fmt: skip
    lines += ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in facts.items() if value), ""]
    if make:
        lines += ["```python", signature(name, make), "```", ""]
    if form:
        lines += ["```sh", f'holdfast attack "{form}" --model pkg.mod:build --data npz:test.npz --out adv', "```", ""]
    for place, text in enumerate(rest):
        lines += [*shown(imports(name, make, text) + text if text.startswith(">>>") else text, place == 0), ""]
    return "\n".join(lines).rstrip() + "\n\nWritten by `scripts/attack_pages.py` from the docstring.\n"


def paragraphs(make: Callable[..., Any]) -> list[str]:
    return [part.strip("\n") for part in re.split(r"\n\s*\n", inspect.getdoc(make) or "")]


def signature(name: str, make: Callable[..., Any]) -> str:
    """The signature as people write it: a line, or a parameter a line."""
    found = inspect.signature(make)
    # Annotations are kept as text, which Python shows in quotes.
    words = [
        re.sub(r"^(\**\w+): '([^']*)'", r"\1: \2", re.sub(r"<function .* at 0x\w+>", "…", str(parameter)))
        for parameter in found.parameters.values()
    ]
    flat = f"{name}({', '.join(words)})"
    return flat if len(flat) <= 100 else f"{name}(\n" + "".join(f"    {word},\n" for word in words) + ")"


def imports(name: str, make: Callable[..., Any], text: str) -> str:
    """The lines that an example needs before it: what its module knows and the example does not import itself."""
    code = "".join(example.source for example in DocTestParser().get_examples(text))
    used = dict.fromkeys(node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))
    own = {alias.name for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom) for alias in node.names}
    known, lines = inspect.unwrap(make).__globals__, []
    for word in used:
        if word not in known or word in own:
            continue
        home = next((room for room in ("holdfast", *ROOMS, "holdfast.parts.threats") if hasattr(importlib.import_module(room), word)), None)
        if inspect.ismodule(known[word]):
            lines.append(
                f">>> import {word}"
                if known[word].__name__ == word
                else f">>> from {known[word].__name__.rpartition('.')[0]} import {word}"
            )
        else:
            lines.append(f">>> from {home or known[word].__module__} import {word}")
    return "".join(line + "\n" for line in sorted(lines))


def shown(text: str, first: bool) -> list[str]:
    """A paragraph of a docstring in Markdown: examples and equations as they stand, headed sentences with their heads in bold."""
    if text.startswith(">>>"):
        return ["```python", text, "```"]
    if first and EQUATION.search(text):
        return ["```text", text, "```"]
    # Each headed sentence is a paragraph of its own.
    parts = re.split(r"\n(?=(?:Raises|Source:|Differs from))", text)
    found: list[str] = []
    for part in parts:
        body = " ".join(part.split())
        body = re.sub(r"^(Raises|Source|Differs from[^:]*)(:?)", r"**\1**\2", body)
        found += ["", *textwrap.wrap(plain(body), 140, break_long_words=False, break_on_hyphens=False)]
    return found[1:]


def plain(text: str) -> str:
    """Text whose signs Markdown would read, kept as they are outside of code."""
    parts = re.split(r"(`[^`]*`|\*\*(?:Raises|Source|Differs from[^*]*)\*\*)", text)
    return "".join(part if place % 2 else re.sub(r"([*_<|\\])", r"\\\1", part) for place, part in enumerate(parts))


def index() -> str:
    """The table of all methods."""
    lines = ["# The catalogue", "", "| method | kind | access | threats | what it does | paper |", "|---|---|---|---|---|---|"]
    for row in rows():
        words = [row["kind"], row["access"], ", ".join(row["threats"]), plain(row["summary"]), row["paper"]]
        lines.append(f"| [{row['name']}]({row['name']}.md) | " + " | ".join(words) + " |")
    return "\n".join(lines) + "\n\nWritten by `scripts/attack_pages.py`.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draw", nargs="*", metavar="NAME", help="draw these again; all without names")
    wished = parser.parse_args().draw
    names = [row["name"] for row in rows()]
    again = set(names if wished == [] else wished or [])
    if again - set(names):
        parser.error(f"{', '.join(sorted(again - set(names)))}: unknown; there are {', '.join(names)}")
    for name in names:
        if name in again or not picture(name).exists():
            why = draw(name)
            print(f"{name}: {'drawn' if why is None else 'no picture: ' + why}", flush=True)
    PAGES.mkdir(parents=True, exist_ok=True)
    for stale in {file.stem for file in PAGES.glob("*.md")} - {*names, "README"}:
        (PAGES / f"{stale}.md").unlink()
        picture(stale).unlink(missing_ok=True)
    for row in rows():
        (PAGES / f"{row['name']}.md").write_text(page(row))
    (PAGES / "README.md").write_text(index())
    print(f"{len(names)} pages in {PAGES.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
