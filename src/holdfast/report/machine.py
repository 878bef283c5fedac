"""The report for machines: one JSON object."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from holdfast.core.errors import StoreError
from holdfast.engine.snapshot import write_whole
from holdfast.evaluation import Result
from holdfast.report.curves import curves
from holdfast.report.verdict import verdict


def json_report(result: Result, path: str | Path) -> Path:
    """Write the summary, the verdict, the manifest and the curves as strict JSON: no NaN, no Infinity, null instead.

    Raises StoreError when the file cannot be written.
    """
    return write_page(path, json.dumps(as_dict(result), indent=1, allow_nan=False) + "\n")


def as_dict(result: Result) -> dict[str, Any]:
    """What `json_report` writes."""
    found: dict[str, Any] = finite(result.summary() | {"verdict": verdict(result), "manifest": result.manifest, "curves": curves(result)})
    return found


def write_page(path: str | Path, text: str) -> Path:
    """Write a report wholly or not at all, with the folders above it.

    Raises StoreError naming the path when it is a folder, read-only, or the disk is full.
    """
    path = Path(path)
    if path.is_dir():
        raise StoreError(f"{path} is a folder: name a file to write the report to, as in {path / 'report.html'}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {path.parent}: {error.strerror}; write the report elsewhere") from error
    write_whole(path, text.encode())
    return path


def finite(value: Any) -> Any:
    """The same, with None for every number that JSON has no word for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value
