"""Writes docs/attacks: a page per method of the catalogue, from its docstring, and a picture of what it does.

    python scripts/attack_pages.py              all pages, and the pictures that are missing
    python scripts/attack_pages.py --draw NAME  the pictures of these methods again (without names: of all)

Pictures show four MNIST digits under a plainly trained LeNet where HOLDFAST_DATA (default ../shared/data) has them, else scikit-learn's
scans under the demo's net. The call that made a picture is kept inside it. Long searches are cut short for pictures, as the call says.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import io
import os
import re
import tempfile
import textwrap
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from holdfast import Budget, Classifier, Dataset, HoldfastError, catalogue, evaluate, load_data
from holdfast.attacks.short import ENTRIES, THREATS, Entry
from holdfast.core.types import Threat
from holdfast.demo import demo_classifier
from holdfast.models import load_net
from holdfast.report import export

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "attacks"
ROOMS = ("holdfast.attacks", "holdfast.training.shared", "holdfast.training", "holdfast.synthesis", "holdfast.exact")
RADII = {"linf": 0.2, "l2": 2.0, "l1": 20.0, "l0": 20.0, "flow": 1.0, "colour": 0.1, "occlusion": 8.0}
LIGHT = {"steps": 200, "iterations": 200, "rivals": 3}
SHOWN, TRIED, DEADLINE, LARGEST = 4, 24, 900.0, 30_000
EQUATION = re.compile(r"[=∈≤Π∇]|\bmin|\bmax")


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
        lines += [f"![{name}: clean, adversarial, difference](pictures/{file.name})", "", words + ".", ""]
        form = words.split("`")[1]
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
        lines += [*shown(text, place == 0), ""]
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


def draw(name: str) -> str | None:
    """Run the method and keep a picture of what it found; None when that went well, else why there is none."""
    entry = ENTRIES.get(name)
    if entry is None or entry.kind != "row":
        return "only methods of kind row are drawn"
    takes = inspect.signature(entry.make).parameters
    light = {key: most for key, most in LIGHT.items() if key in takes and (takes[key].default or 0) > most}
    model, data, words = scene("colour" in entry.threats[:1])
    for grow in (1.0, 1.5, 2.0, 2.5):
        try:
            made = entry.make(*threats(entry, grow), **light)
            with tempfile.TemporaryDirectory() as folder:
                result = evaluate(model, data, made.threat, attacks=[made], out=folder, budget=Budget(deadline=DEADLINE), replica=False)
                if export(result, data, folder, SHOWN, SHOWN, width=850).pictures < SHOWN:
                    continue
                sheet = Path(folder) / "sheet.png"
                keep(name, sheet, f"`{made}` {words}")
                return None
        except (HoldfastError, TypeError) as error:
            return str(error)
    return f"it broke less than {SHOWN} of {TRIED}"


def threats(entry: Entry, grow: float) -> tuple[Threat | float, ...]:
    """The threat of a picture, where the method needs one: a radius that an eye can see, in the first norm of its own."""
    norm = next((norm for norm in entry.threats if norm in THREATS and norm in RADII), None)
    if entry.minimum_norm or norm is None:
        return ()
    radius = round(RADII[norm] * grow, 6)
    return (radius,) if norm == "linf" else (THREATS[norm](radius),)


def keep(name: str, sheet: Path, words: str) -> None:
    """The sheet in few colours, with the words inside."""
    note, buffer = PngInfo(), io.BytesIO()
    note.add_itxt("Description", words)
    with Image.open(sheet) as image:
        image.quantize(64).save(buffer, "PNG", optimize=True, pnginfo=note)
    if buffer.tell() > LARGEST:
        raise SystemExit(f"the picture of {name} has {buffer.tell()} bytes, more than {LARGEST}: show fewer samples")
    picture(name).parent.mkdir(parents=True, exist_ok=True)
    picture(name).write_bytes(buffer.getvalue())


@cache
def scene(colour: bool) -> tuple[Classifier, Dataset, str]:
    """Model, data, and what to call them: digits, or photographs for what is about colours."""
    shared = Path(os.environ.get("HOLDFAST_DATA") or ROOT.parent / "shared" / "data")
    weights, photographs = shared / "models" / "mnist_lenet5_clean.safetensors", shared / "models" / "cifar10_resnet20.safetensors"
    if colour and photographs.exists():
        data = load_data(f"npz:{shared / 'cifar10' / 'cifar10_test_2k.npz'}", limit=TRIED)
        net = Classifier(load_net("resnet20", photographs), 10, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
        return net, data, f"against a plainly trained ResNet-20: {SHOWN} of {TRIED} CIFAR-10 photographs"
    if weights.exists():
        data = load_data(f"npz:{shared / 'mnist' / 'mnist.npz'}", limit=TRIED)
        return Classifier(load_net("lenet5", weights), 10), data, f"against a plainly trained LeNet: {SHOWN} of {TRIED} MNIST digits"
    folder = Path(tempfile.mkdtemp())
    return demo_classifier(folder, print), load_data("digits", limit=TRIED), f"against the demo's net: {SHOWN} of {TRIED} scans"


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
