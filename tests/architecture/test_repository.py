"""The repository speaks only of itself, and its scripts stand where the README says."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
from pathlib import Path

import holdfast

ROOT = Path(holdfast.__file__).parents[2]


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return [ROOT / name for name in listed]


def test_no_absolute_paths_of_a_machine() -> None:
    words = ["/" + "work" + "/", "/" + "home" + "/", "/" + "root" + "/", "/" + "tmp" + "/bash"]
    for path in tracked():
        if path.suffix in {".py", ".md", ".toml", ".txt", ".j2", ""} and path.is_file():
            text = path.read_text(errors="ignore")
            assert not [word for word in words if word in text], path


def test_scripts_can_be_run() -> None:
    for name in ("scripts/demo", "scripts/test", "scripts/check", "scripts/bench", ".ci/run"):
        assert os.access(ROOT / name, os.X_OK), name
    readme = (ROOT / "README.md").read_text()
    assert readme.index("scripts/demo") < readme.index("scripts/test")
    assert "scripts/test" in (ROOT / ".ci" / "run").read_text()


def test_benchmarks_import_what_there_is() -> None:
    asked = [
        (path.name, node.module, name.name)
        for path in sorted((ROOT / "benchmarks").glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("holdfast")
        for name in node.names
    ]
    assert len(asked) > 20
    assert not [(path, module, name) for path, module, name in asked if not hasattr(importlib.import_module(str(module)), name)]
