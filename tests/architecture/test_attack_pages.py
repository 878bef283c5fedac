"""docs/attacks is what the docstrings say: a page per method of the catalogue, with its picture."""

from __future__ import annotations

import doctest
import importlib
import re
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

import holdfast
from holdfast import attacks, catalogue
from holdfast.attacks.short import parse
from holdfast.training.shared import parse_shared

ROOT = Path(holdfast.__file__).parents[2]
PAGES = ROOT / "docs" / "attacks"
ROWS = catalogue.listing("attacks")
AGAIN = "run python scripts/attack_pages.py"


@cache
def script(name: str = "attack_pages") -> ModuleType:
    """The generator, which is no part of the package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        return importlib.import_module(name)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_the_page_is_in_step_with_the_docstring(row: dict[str, object]) -> None:
    file = PAGES / f"{row['name']}.md"
    assert file.exists(), AGAIN
    text = file.read_text()
    assert text == script().page(row), AGAIN
    for form in re.findall(r'holdfast attack "(.*)" --model', text):
        assert str(parse_shared(form) if row["kind"] == "shared" else parse(form)) == form
    for link in re.findall(r"!\[[^]]*\]\(([^)]*)\)", text):
        assert (PAGES / link).stat().st_size < 30_000
        with Image.open(PAGES / link) as image:
            assert str(row["name"]) in image.text["Description"] and min(image.size) > 100


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_the_example_of_a_page_runs_by_itself(row: dict[str, object]) -> None:
    for code in re.findall(r"```python\n(>>> .*?)```", (PAGES / f"{row['name']}.md").read_text(), re.DOTALL):
        example = doctest.DocTestParser().get_doctest(code, {}, str(row["name"]), None, None)
        assert doctest.DocTestRunner().run(example).failed == 0


def test_no_page_is_left_over_and_the_index_has_all() -> None:
    names = {row["name"] for row in ROWS}
    assert {file.stem for file in PAGES.glob("*.md")} == names | {"README"}, AGAIN
    assert {file.stem for file in (PAGES / "pictures").glob("*.png")} <= names, AGAIN
    assert (PAGES / "README.md").read_text() == script().index(), AGAIN


@pytest.mark.parametrize("name", [row["name"] for row in ROWS if row["kind"] != "data"])
def test_every_method_has_a_picture(name: str) -> None:
    assert (PAGES / "pictures" / f"{name}.png").exists(), f"{AGAIN} --draw {name}"


def test_a_picture_is_drawn_from_what_the_method_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = script("attack_pictures")
    monkeypatch.setattr(pictures, "FOLDER", tmp_path)
    assert pictures.draw("linear_exact") is None
    with Image.open(tmp_path / "linear_exact.png") as drawn, Image.open(PAGES / "pictures" / "linear_exact.png") as kept:
        assert drawn.size == kept.size and drawn.text == kept.text


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
    assert script().draw("no_such_method") == "nothing here draws it"


def test_markdown_shows_what_was_written() -> None:
    assert script().plain("a_b * c|d `x_i` <e>") == r"a\_b \* c\|d `x_i` \<e>"
