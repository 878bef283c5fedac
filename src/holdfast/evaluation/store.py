"""The store of a run: a manifest, and per shard one part with one writer.

    RUN/manifest.json                      what is measured: plan, model, data, threat, seed, versions; and how the model is asked
    RUN/shard-0-of-1/clean.parquet         one row per sample: label, answer, confidence
    RUN/shard-0-of-1/00-apgd.parquet       one row per sample that the attack was made on (columns: `SCHEMA`)
    RUN/shard-0-of-1/00-apgd.json          what the attack cost in all, and its seconds
    RUN/shard-0-of-1/00-apgd.snapshot      only while the attack is under way
    RUN/shard-0-of-1/trust-noise.parquet   the same of the attacks that trust checks made on a few survivors; and .json, .snapshot
    RUN/shard-0-of-1/trust.json            what the trust checks judge
    RUN/shard-0-of-1/adversarial.npy       a verified adversarial example per broken sample, the clean input elsewhere
    RUN/shard-0-of-1/samples.npz           ids and labels, in the same order
    RUN/shard-0-of-1/gallery.npz           the clean inputs of a few samples, for pictures

Everything is written wholly or not at all, and nothing is ever unpickled.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import polars as pl
import torch
from torch import Tensor

from holdfast.core.errors import ConfigError, StoreError
from holdfast.engine.snapshot import write_whole
from holdfast.evaluation.depth import Depth

CALIBRATION = "calibration"
SCHEMA_VERSION = 3
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "sample": pl.Int64,  # stable id
    "attack": pl.String,  # label of the plan's entry
    "digest": pl.String,  # hash of the attack's expanded form
    "label": pl.Int64,
    "clean_prediction": pl.Int64,
    "prediction": pl.Int64,  # of the adversarial example; of the clean input where there is none
    "target": pl.Int64,  # class aimed at by the winning row, -1 for none
    "status": pl.String,  # broken | withstood | unfinished
    "broken": pl.Boolean,  # a verified adversarial example within the plan's threat
    "success": pl.Boolean,  # a verified adversarial example within the attack's own radius
    "size": pl.Float64,  # of the change, in the threat's units; null without success
    "radius": pl.Float64,  # the winning row's
    "member": pl.Int64,  # which of the sample's siblings won, -1 for none
    "step": pl.Int64,  # steps the winning row had taken, -1 for none
    "margin": pl.Float64,  # of the goal: at the example, else the best seen
    "weakest": pl.Float64,  # the best margin of the sibling that came least far
    "hits": pl.Int64,  # restarts in which an example was found
    "share": pl.Float64,  # of the verifying asks that were fooled
    "eight_bit": pl.Boolean,  # still fools when stored with 8 bits a value
    "confidence": pl.Float64,  # softmax of the prediction
    "linf": pl.Float64,
    "l2": pl.Float64,
    "l1": pl.Float64,
    "l0": pl.Float64,
    "dissimilarity": pl.Float64,  # ||x - x'||2 / ||x'||2
    "forwards": pl.Int64,
    "backwards": pl.Int64,
    "nan_forwards": pl.Int64,  # of these, answers that were not numbers (a margin of NaN or -inf)
    "nan_backwards": pl.Int64,  # gradients of which most values were not finite
}
TRUST = ("noise", "gradient_free", "minimum_norm", "smoothed", "more_steps")
"""The trust checks whose attacks keep to the plan's own threat: what they find counts, and has records."""
CLEAN: dict[str, pl.DataType | type[pl.DataType]] = {
    "sample": pl.Int64,
    "label": pl.Int64,
    "prediction": pl.Int64,
    "confidence": pl.Float64,
    "margin": pl.Float64,
    "correct": pl.Boolean,
}


def trust_label(name: str) -> str:
    """The label of a trust check's attack in the records."""
    return f"trust-{name}"


class Store:
    """One run's folder. `Store(path)` reads; `store.shard(i, k)` opens a part for writing, under a lock."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def manifest(self) -> dict[str, Any]:
        file = self.path / "manifest.json"
        if not file.is_file():
            raise StoreError(f"{self.path} holds no run (no manifest.json): name the folder given to --out")
        try:
            found: dict[str, Any] = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise StoreError(f"{file} cannot be read ({error}): restore it, or run again into another folder") from error
        if found.get("schema") != SCHEMA_VERSION:
            raise StoreError(f"{file} has schema {found.get('schema')}, this version reads {SCHEMA_VERSION}: use the version that wrote it")
        return found

    def known(self) -> dict[str, Any] | None:
        """The manifest, or None where there is no run yet."""
        return self.manifest if (self.path / "manifest.json").is_file() else None

    def open(self, identity: Mapping[str, Any], once: Mapping[str, Any]) -> dict[str, Any]:
        """The manifest, written if the folder is new; `identity` must be what is stored, `once` is decided by whoever comes first.

        Raises StoreError when the folder cannot be written or holds another run.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make the folder {self.path}: {error.strerror}; choose another with --out") from error
        if not os.access(self.path, os.W_OK):
            raise StoreError(f"cannot write into {self.path}: it is read-only; choose another folder with --out")
        there = {entry.name for entry in self.path.iterdir()}
        if there and not there & {"manifest.json", "lock"}:
            raise StoreError(f"{self.path} is not empty and holds no run: choose another folder with --out")
        # Shards may open one new folder at the same moment: the first to come writes, the others read.
        with _held(self.path / "lock", f"another process is opening {self.path}: try again"):
            file = self.path / "manifest.json"
            if not file.exists():
                write_json(file, {"schema": SCHEMA_VERSION} | dict(identity) | {"once": dict(once)})
        stored = self.manifest
        for key, value in json.loads(json.dumps(dict(identity))).items():
            if stored.get(key) != value:
                raise StoreError(
                    f"{self.path} holds another run: its {key} is {_short(stored.get(key))}, this one's is {_short(value)}; "
                    f"choose another folder with --out, or delete that one"
                )
        return stored

    def shard(self, index: int, count: int) -> Part:
        return Part(self.path / f"shard-{index}-of-{count}")

    def calibration(self) -> Part:
        """The part of the calibration samples, which all shards share."""
        return Part(self.path / CALIBRATION)

    def parts(self) -> list[Part]:
        """The parts that are there: that of the calibration samples first, then the shards in order."""
        folders = sorted(self.path.glob("shard-*-of-*"), key=lambda folder: int(folder.name.split("-")[1]))
        return [Part(folder) for folder in (self.path / CALIBRATION, *folders) if (folder / "samples.npz").exists()]


class Part:
    """One shard of a run, written by one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lock(self) -> AbstractContextManager[object]:
        """Held while writing; a killed process lets go of it.

        Raises StoreError when another process holds it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot write into {self.path}: {error.strerror}; choose another folder with --out") from error
        return _held(
            self.path / "lock", f"another process is writing {self.path}: wait for it, or give this one another --shard or --out", 0
        )

    def lock_in_turn(self, halt: Callable[[], bool]) -> AbstractContextManager[object]:
        """Held while writing, after those who hold it now; StoreError where `halt` says to wait no longer."""
        while True:
            try:
                return _held(self.path / "lock", f"another process is writing {self.path}: run the same command again", 1)
            except StoreError:
                if halt():
                    raise

    def file(self, label: str, kind: str) -> Path:
        return self.path / f"{label}.{kind}"

    def write(self, label: str, frame: pl.DataFrame) -> None:
        buffer = io.BytesIO()
        frame.write_parquet(buffer)
        write_whole(self.file(label, "parquet"), buffer.getvalue())

    def read(self, label: str) -> pl.DataFrame | None:
        file = self.file(label, "parquet")
        if not file.exists():
            return None
        try:
            return pl.read_parquet(file)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise StoreError(f"{file} cannot be read ({error}): delete it and run the same command to make it again") from error

    def trust(self) -> dict[str, dict[str, Any]]:
        """What was gathered for the trust checks, by the name of the check."""
        return {name: facts for name, facts in self._trust().items() if isinstance(facts, dict)}

    def trust_seconds(self) -> float:
        return float(self._trust().get("seconds", 0.0))

    def _trust(self) -> dict[str, Any]:
        file = self.path / "trust.json"
        found: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
        return found

    def facts(self, label: str) -> dict[str, Any] | None:
        file = self.file(label, "json")
        if not file.exists():
            return None
        found: dict[str, Any] = json.loads(file.read_text())
        return found

    def write_depth(self, depth: Depth) -> None:
        write_json(self.path / "depth.json", asdict(depth))

    def depth(self) -> Depth | None:
        """How deep the calibration samples said to search; None before they did."""
        file = self.path / "depth.json"
        return Depth.read(json.loads(file.read_text())) if file.is_file() else None

    def write_samples(self, ids: Tensor, y: Tensor, places: Tensor) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, ids=ids.numpy(), y=y.cpu().numpy(), places=places.numpy())
        write_whole(self.path / "samples.npz", buffer.getvalue())

    def samples(self) -> tuple[Tensor, Tensor]:
        """Ids and labels, in the order of the adversarial examples."""
        with np.load(self.path / "samples.npz", allow_pickle=False) as file:
            return torch.from_numpy(file["ids"]), torch.from_numpy(file["y"])

    def places(self) -> Tensor:
        """The position of each sample in the data."""
        with np.load(self.path / "samples.npz", allow_pickle=False) as file:
            return torch.from_numpy(file["places"])

    def write_gallery(self, ids: Tensor, clean: Tensor) -> None:
        """Keep the clean inputs of a few samples, for pictures."""
        buffer = io.BytesIO()
        np.savez(buffer, sample=ids.numpy(), clean=clean.float().numpy())
        write_whole(self.path / "gallery.npz", buffer.getvalue())

    def gallery(self) -> dict[str, np.ndarray[Any, Any]] | None:
        """`sample` `[k]` ids and `clean` `[k, ...]` inputs in the model's range, of the few samples that pictures may show."""
        file = self.path / "gallery.npz"
        if not file.exists():
            return None
        try:
            with np.load(file, allow_pickle=False) as stored:
                return {name: stored[name] for name in ("sample", "clean")}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise StoreError(f"{file} cannot be read ({error}): delete it, and the report goes without pictures") from error

    def array(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A memory-mapped tensor in the part, made of zeros where it is not there yet."""
        file = self.path / f"{name}.npy"
        kind = np.dtype(str(dtype).removeprefix("torch."))
        try:
            mode: Any = "r+" if file.exists() else "w+"
            mapped = np.lib.format.open_memmap(file, mode, kind, shape)
            if mode == "w+":
                # Claim the space now: a disk that fills up later would kill the process on a mere write to memory.
                with open(file, "r+b") as raw:
                    os.posix_fallocate(raw.fileno(), 0, os.fstat(raw.fileno()).st_size)
        except (OSError, ValueError) as error:
            if mode == "w+":
                file.unlink(missing_ok=True)
            raise StoreError(f"cannot map {file} ({error}): free space or choose another folder with --out") from error
        return torch.from_numpy(mapped)

    def adversarial(self) -> np.ndarray[Any, Any]:
        return np.load(self.path / "adversarial.npy", mmap_mode="r", allow_pickle=False)


def merge(into: str | Path, *runs: str | Path) -> Store:
    """Join the shards of several folders of one run into one folder.

    Raises ConfigError for no folders, StoreError when they hold different runs, or the same shard twice.
    """
    if not runs:
        raise ConfigError(f"nothing to join into {into}: name the folders that hold the shards")
    into, *places = map(Path, (into, *runs))
    first = Store(places[0]).manifest
    identity = {key: value for key, value in first.items() if key not in ("schema", "once")}
    store = Store(into)
    store.open(identity, first["once"])
    for run in places:
        other = Store(run)
        store_identity = {key: value for key, value in other.manifest.items() if key not in ("schema", "once")}
        store.open(store_identity, first["once"])
        if run.resolve() == into.resolve():
            continue
        for part in other.parts():
            there = into / part.path.name
            if part.path.name == CALIBRATION and there.exists():
                if part.depth() != store.calibration().depth():
                    raise StoreError(
                        f"{run} decided otherwise on its calibration samples than {places[0]}: their samples were not attacked alike; "
                        f"run all shards with one version on machines of one kind, or give them one --out"
                    )
                continue
            if (there / "samples.npz").exists():
                raise StoreError(f"{there} is there already: each shard may come from one folder only")
            with part.lock():
                shutil.copytree(part.path, there, dirs_exist_ok=True, ignore=shutil.ignore_patterns("lock", "*.part"))
    return store


def _held(file: Path, taken: str, patience: float = 30) -> AbstractContextManager[object]:
    """The lock on `file`, acquired; StoreError saying `taken` where another process keeps it for `patience` seconds."""
    try:
        return filelock.FileLock(file).acquire(timeout=patience)
    except filelock.Timeout as error:
        raise StoreError(taken) from error
    except OSError as error:
        raise StoreError(f"cannot write into {file.parent}: {error.strerror}; choose another folder with --out") from error


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    write_whole(file, (json.dumps(content, indent=1) + "\n").encode())


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) < 80 else text[:77] + "…"
