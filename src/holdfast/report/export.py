"""What an attack leaves for people and other tools: a picture per broken sample, a sheet of the most telling ones, an npz of them all."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from PIL import Image

from holdfast.core.errors import StoreError
from holdfast.core.types import Bounds
from holdfast.data import Dataset
from holdfast.engine.snapshot import write_whole
from holdfast.evaluation import Result
from holdfast.report.curves import class_name, first_broken
from holdfast.report.pictures import Array, amplified, drawn, is_image, png, scaled
from holdfast.report.strips import Panel, plain, sheet, strip
from holdfast.report.words import figure, percent

PIECE = 256
"""Samples copied at a time."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Exported:
    """What was written into `folder`, of so many `broken` samples; `words` says it, and what was left out."""

    folder: Path
    broken: int
    pictures: int
    sheet: bool
    words: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "npz": str(self.folder / "adversarial.npz"), "pictures": self.pictures, "left_out": self.broken - self.pictures,
            "sheet": str(self.folder / "sheet.png") if self.sheet else None, "words": self.words,
        }  # fmt: skip


def export(result: Result, data: Dataset, folder: str | Path, pictures: int = 100, most: int = 24, width: int = 1500) -> Exported:
    """Write what a finished run found as files that need no Holdfast to be read.

    `adversarial.npz`: the broken samples, `x`, `x_adv` `[k, ...]` in the model's range; `y`, `prediction`, `confidence`, `size` (in the
    threat's norm), `id` `[k]`. `pictures/ID.png`: clean, adversarial and amplified difference with answers and confidences, of at most
    `pictures` samples; `sheet.png`: the first `most` of them, in as many columns as `width` pixels hold. First comes a sample of each
    confusion (label → answer), the commonest confusion first, and of each the smallest change; then a second of each. `data`: what the
    run was made on. Inputs that are no images `[1 | 3 | 4, h, w]` have the npz alone.

    A picture that is there already is left as it is: the same run would draw it again to the byte.

    Raises StoreError for a run that has not ended, data that lack its samples, or a folder that cannot be written.
    """
    folder = Path(folder)
    if not all(result.facts.get(label, {"complete": False})["complete"] for label in result.labels):
        raise StoreError(f"{result.path} holds a run that has not ended: run the same command again, then export it")
    place = {sample: i for i, sample in enumerate(data.ids.tolist())}
    rows = result.clean.select("sample", before="prediction", sure="confidence").with_row_index("at")
    rows = rows.join(first_broken(result), on="sample", maintain_order="left")
    lost = [sample for sample in rows["sample"].to_list() if sample not in place]
    if lost:
        raise StoreError(f"{data.name} lacks sample {lost[0]} of the run in {result.path}: give the data that it was made on")
    inputs = _Inputs(result, data, place)
    _write_npz(folder / "adversarial.npz", rows, inputs)
    if not len(rows):
        return Exported(folder, 0, 0, False, "no sample was broken: adversarial.npz is empty, and there is nothing to picture")
    if not is_image(inputs.adversarial[0]):
        shape = list(inputs.adversarial.shape[1:])
        return Exported(folder, len(rows), 0, False, f"inputs {shape} are no images: adversarial.npz alone was written")
    chosen = instructive(rows).head(pictures).to_dicts()
    digits = max(len(str(row["sample"])) for row in rows.to_dicts())
    _make(folder / "pictures")
    for row in chosen:
        file = folder / "pictures" / f"{row['sample']:0{digits}d}.png"
        if not file.exists():
            write_whole(file, png(_strip(result, row, inputs, 192, 512, 13)))
    if chosen:
        write_whole(folder / "sheet.png", png(sheet([_strip(result, row, inputs, 112, 160, 11) for row in chosen[:most]], width)))
    left = len(rows) - len(chosen)
    words = f"pictures of {len(chosen):,} of {len(rows):,} broken samples"
    words += f"; {left:,} left out (--pictures {len(rows)} for all)" if left else ""
    return Exported(folder, len(rows), len(chosen), bool(chosen), words)


def instructive(rows: pl.DataFrame) -> pl.DataFrame:
    """Broken samples, the most telling first: each confusion's smallest change, the commonest confusion first; then each one's next."""
    pair = ["label", "prediction"]
    ranked = rows.sort("size", "sample").with_columns(turn=pl.col("sample").cum_count().over(pair), common=pl.len().over(pair))
    return ranked.sort("turn", "common", *pair, descending=[False, True, False, False])


@dataclass(frozen=True)
class _Inputs:
    """Clean and adversarial inputs of a run, a few at a time."""

    result: Result
    data: Dataset
    place: dict[int, int]

    @property
    def adversarial(self) -> Array:
        return self.result.adversarial

    def clean(self, samples: list[int]) -> Array:
        """`[k, ...]` as the model takes them."""
        model = self.result.manifest["model"]
        low, high = (tuple(side) if isinstance(side, list) else side for side in (model["low"], model["high"]))
        dtype: torch.dtype = getattr(torch, model["dtype"].removeprefix("torch."))
        rows = self.data.x[torch.tensor([self.place[sample] for sample in samples], device=self.data.x.device)]
        found: Array = Bounds(low, high).intake(rows, dtype, torch.device("cpu")).numpy()
        return found


def _strip(result: Result, row: Row, inputs: _Inputs, side: int, largest: int, size: int) -> Image.Image:
    """Clean, adversarial and difference of one sample, with what the model says."""
    manifest = result.manifest
    model, norm = manifest["model"], manifest["threat"]["norm"]
    values = inputs.clean([row["sample"]])[0]
    clean = scaled(values, model["low"], model["high"])
    found = scaled(np.array(inputs.adversarial[row["at"]]), model["low"], model["high"], values)
    change, factor = amplified(clean, found)
    said, now = (
        f"{_name(result, row[answer])} ({percent(row[sure])})" for answer, sure in (("before", "sure"), ("prediction", "confidence"))
    )
    panels = [
        Panel(drawn(clean, side=side, largest=largest), ("clean", said)),
        Panel(drawn(found, side=side, largest=largest), ("adversarial", now)),
        Panel(drawn(change, True, side, largest), (f"difference ×{factor:.3g}", f"{norm} {figure(row['size'])}")),
    ]
    return strip(f"sample {row['sample']}, label {_name(result, row['label'])}", panels, size)


def _name(result: Result, index: int) -> str:
    """The class's name, or its number where the captions' font cannot write the name."""
    name = class_name(result, index)
    return name if plain(name).count("?") == name.count("?") else str(index)


def _write_npz(path: Path, rows: pl.DataFrame, inputs: _Inputs) -> None:
    """Piece by piece: the broken samples need not fit into memory twice."""
    samples, at = rows["sample"].to_list(), rows["at"].to_list()
    shape, kind = (len(rows), *inputs.adversarial.shape[1:]), inputs.adversarial.dtype
    columns = {"y": "label", "prediction": "prediction", "confidence": "confidence", "size": "size", "id": "sample"}
    beside = path.with_name(path.name + ".part")
    try:
        with zipfile.ZipFile(beside, "w") as archive:
            _put(archive, "x", kind, shape, lambda part: inputs.clean(samples[part]))
            _put(archive, "x_adv", kind, shape, lambda part: inputs.adversarial[at[part]])
            for name, column in columns.items():
                values = rows[column].to_numpy()
                _put(archive, name, values.dtype, values.shape, lambda part, values=values: values[part])  # type: ignore[misc]
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise StoreError(f"cannot write {path}: {error.strerror}; free space, then run the same command again") from error


def _put(archive: zipfile.ZipFile, name: str, kind: np.dtype[Any], shape: tuple[int, ...], read: Callable[[slice], Array]) -> None:
    """One array of an npz file."""
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, shape[0], PIECE):
            file.write(np.ascontiguousarray(read(slice(start, start + PIECE)), kind).tobytes())


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {folder}: {error.strerror}; choose another with --out") from error
