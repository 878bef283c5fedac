"""docs/attacks is what the docstrings say: a page per method of the catalogue, with its picture."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

import holdfast
from holdfast import attacks, catalogue
from holdfast.attacks.short import ENTRIES, THREATS

ROOT = Path(holdfast.__file__).parents[2]
PAGES = ROOT / "docs" / "attacks"
ROWS = catalogue.listing("attacks")
AGAIN = "run python scripts/attack_pages.py"


def script() -> ModuleType:
    """The generator, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("attack_pages", ROOT / "scripts" / "attack_pages.py")
    assert spec and spec.loader
    module = sys.modules.setdefault(spec.name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_the_page_is_in_step_with_the_docstring(row: dict[str, object]) -> None:
    file = PAGES / f"{row['name']}.md"
    assert file.exists(), AGAIN
    text = file.read_text()
    assert text == script().page(row), AGAIN
    for link in re.findall(r"!\[[^]]*\]\(([^)]*)\)", text):
        assert (PAGES / link).stat().st_size < 30_000
        with Image.open(PAGES / link) as image:
            assert str(row["name"]) in image.text["Description"] and min(image.size) > 100


def test_no_page_is_left_over_and_the_index_has_all() -> None:
    names = {row["name"] for row in ROWS}
    assert {file.stem for file in PAGES.glob("*.md")} == names | {"README"}, AGAIN
    assert {file.stem for file in (PAGES / "pictures").glob("*.png")} <= names, AGAIN
    assert (PAGES / "README.md").read_text() == script().index(), AGAIN


@pytest.mark.parametrize(
    "name", [name for name, entry in ENTRIES.items() if entry.kind == "row" and set(entry.threats) & set(THREATS) & set(script().RADII)]
)
def test_attacks_on_images_have_a_picture(name: str) -> None:
    assert (PAGES / "pictures" / f"{name}.png").exists(), f"{AGAIN} --draw {name}"


def test_pages_hold_all_parts_of_a_docstring() -> None:
    text = script().page(next(row for row in ROWS if row["name"] == "pgd"))
    for part in (
        "# pgd\n",
        "steps: int = 40,",
        "```text\nx_{t+1} = Π(",
        "**Raises** ConfigError",
        "**Source**: Madry",
        ">>> str(pgd(",
        "1706.06083",
    ):
        assert part in text, part
    words = re.findall(r"\w+", (attacks.pgd.__doc__ or "").replace(">>>", ""))
    left = re.findall(r"\w+", text)
    for word in words:
        assert word in left, f"{word} of the docstring is on the page"


def test_a_method_of_another_kind_has_a_page_without_a_picture() -> None:
    """As kinds without a public function of that name are, and kinds that nothing draws."""
    row = {
        "name": "no_such_method", "kind": "shared", "access": "score", "threats": [], "minimum_norm": False, "paper": "Nobody 1900",
        "summary": "It does nothing.",
    }  # fmt: skip
    text = script().page(row)
    assert text.startswith("# no_such_method\n\nIt does nothing.\n") and "Nobody 1900" in text and "![" not in text
    assert script().draw("no_such_method") == "only methods of kind row are drawn"


def test_markdown_shows_what_was_written() -> None:
    assert script().plain("a_b * c|d `x_i` <e>") == r"a\_b \* c\|d `x_i` \<e>"
