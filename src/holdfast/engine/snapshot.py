"""Snapshots: the engine's whole state in one file, written beside and moved into place, so that a kill at any moment leaves a good one."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from holdfast.core.errors import StoreError

Facts = dict[str, str | int | float]
FORM = 2
"""Counts up when a snapshot holds other tensors: an older one is then refused, not misread."""


class Snapshots:
    """Writes at most one snapshot per `apart` times what a snapshot costs, and not more often than every `least` seconds."""

    def __init__(self, path: str | Path | None, apart: float = 25.0, least: float = 0.25) -> None:
        self.path, self.apart, self.least = None if path is None else Path(path), apart, least
        self.due = time.monotonic() + least

    def is_due(self) -> bool:
        return self.path is not None and time.monotonic() >= self.due

    def write(self, tensors: Mapping[str, Tensor], facts: Facts) -> None:
        """Store the state; raises StoreError when the folder cannot be written, leaving the last snapshot as it was."""
        if self.path is None:
            return
        begin = time.monotonic()
        write_whole(self.path, save(_apart(tensors), {"facts": json.dumps(facts)}))
        end = time.monotonic()
        self.due = end + max(self.least, self.apart * (end - begin))

    def read(self) -> tuple[dict[str, Tensor], Facts] | None:
        """The stored state, or None where there is none."""
        if self.path is None or not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                facts = json.loads(file.metadata()["facts"])
                return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118 (no mapping)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise StoreError(f"snapshot {self.path} cannot be read ({error}): delete it to start again") from error

    def discard(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the host; where one memory serves as several leaves, which the format refuses, all but the first are copied."""
    seen: set[int] = set()
    found = {}
    for name, tensor in tensors.items():
        host = tensor.detach().cpu().contiguous()
        if host.untyped_storage().data_ptr() in seen:
            host = host.clone()
        seen.add(host.untyped_storage().data_ptr())
        found[name] = host
    return found


def write_whole(path: Path, content: bytes) -> None:
    """Write a file wholly or not at all.

    Raises StoreError naming the path when the folder is read-only or the disk full; what stood there stays.
    """
    beside = path.with_name(path.name + ".part")
    try:
        with open(beside, "wb") as file:
            file.write(content)
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True) if os.access(path.parent, os.W_OK) else None
        raise StoreError(
            f"cannot write {path}: {error.strerror}; free space or choose another folder, then run the same command to go on"
        ) from error


def identity(attack: str, seed: int, ids: Tensor, todo: Tensor) -> str:
    """What makes a run that run: its attack's digest, its seed, which samples it is made on, and what a snapshot holds."""
    rows = hashlib.sha256(ids.numpy().tobytes() + todo.numpy().tobytes())
    return f"{attack} seed {seed} rows {rows.hexdigest()[:16]} form {FORM}"


def to_device(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in tensors.items()}
