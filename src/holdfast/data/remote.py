"""`hf:NAME` and `torchvision:NAME`: data that an extra fetches; neither package is imported until it is asked for."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from holdfast.core.errors import ConfigError, InputError
from holdfast.data.dataset import Dataset, from_tensors, window
from holdfast.data.images import OPTIONS, Frame, stack
from holdfast.data.source import Source


def load_hub(source: Source) -> Dataset:
    """An image dataset of the Hugging Face hub, or of a local folder that `datasets` reads; ids are places in the split.

    Options: `?image=COLUMN&label=COLUMN` (found by their types unless given), `config=NAME`, and those of `folder:`.

    Raises ConfigError without the extra or for unknown columns, InputError when it cannot be fetched or decoded.
    """
    source.allow(("image", "label", "config", *OPTIONS))
    name, frame = _place(source), Frame.of(source, channels=None)
    datasets = _extra("datasets", "hub", source)
    try:
        table = datasets.load_dataset(name, source.options.get("config"), split=source.split)
    except Exception as error:  # network, names, scripts, caches: the hub can raise anything
        raise InputError(f"data {source.spec!r}: split {source.split!r} cannot be fetched ({_brief(error)}): check both names") from error
    image = _column(table.features, "image", "Image", source)
    label = _column(table.features, "label", "ClassLabel", source)
    places = window(len(table), source.limit, source.offset, source.spec)

    def pictures() -> Iterator[tuple[str, Image.Image]]:
        for place in places:
            yield f"sample {place}", _item(table, place, source)[image]

    names = getattr(table.features[label], "names", None)
    x, y = stack(pictures(), len(places), frame, source), np.asarray(list(table.select(places)[label]))
    return from_tensors(x, y, torch.tensor(places), source.spec, tuple(names) if names else None)


def load_torchvision(source: Source) -> Dataset:
    """One of torchvision's classification datasets by its class name, as in `torchvision:CIFAR10`; ids as for `hf:`.

    It is fetched into `?root=DIR`, by default `holdfast` in the user's cache folder. Further options: those of `folder:`.

    Raises ConfigError without the extra or for an unknown name, InputError when it cannot be fetched or decoded.
    """
    source.allow(("root", *OPTIONS))
    name, frame = _place(source), Frame.of(source, channels=None)
    known = _extra("torchvision.datasets", "vision", source)
    make = getattr(known, name, None)
    if not inspect.isclass(make):
        raise ConfigError(f"data {source.spec!r}: torchvision has no dataset {name!r}: use a class name, as in torchvision:CIFAR10")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "holdfast"
    root = str(source.options.get("root") or cache)
    choices = {"root": root, "train": source.split == "train", "split": source.split, "download": True}
    takes = inspect.signature(make).parameters
    if "train" in takes and source.split not in ("train", "test"):
        raise ConfigError(f"data {source.spec!r}: split {source.split!r} is unknown: {name} has train and test")
    try:
        samples: Any = make(**{word: value for word, value in choices.items() if word in takes})
    except Exception as error:  # network, splits, archives: each of its classes raises its own
        raise InputError(f"data {source.spec!r}: split {source.split!r} cannot be fetched ({_brief(error)}): check both names") from error
    places = window(len(samples), source.limit, source.offset, source.spec)
    labels: list[int] = []

    def pictures() -> Iterator[tuple[str, Image.Image]]:
        for place in places:
            picture, label = _item(samples, place, source)
            labels.append(label)
            yield f"sample {place}", picture

    names = getattr(samples, "classes", None)
    x = stack(pictures(), len(places), frame, source)
    return from_tensors(x, np.asarray(labels), torch.tensor(places), source.spec, tuple(map(str, names)) if names else None)


def _extra(package: str, extra: str, source: Source) -> Any:
    try:
        return import_module(package)
    except (ImportError, RuntimeError, OSError) as error:  # absent, or built for another torch than the one here
        needed = package.partition(".")[0]
        raise ConfigError(
            f"data {source.spec!r} needs {needed}, which cannot be imported ({_brief(error)}): pip install 'holdfast[{extra}]'"
        ) from error


def _item(samples: Any, place: int, source: Source) -> Any:
    try:
        return samples[place]
    except Exception as error:  # fetched and decoded only now: it can raise anything
        raise InputError(f"data {source.spec!r}: sample {place} cannot be decoded ({_brief(error)}): fetch it again") from error


def _place(source: Source) -> str:
    if not source.place:
        raise ConfigError(f"data {source.spec!r}: a name is missing: write {source.kind}:NAME")
    return source.place


def _column(features: dict[str, Any], role: str, kind: str, source: Source) -> str:
    """The column that plays `role`: the one the option names, else the only one of its type."""
    chosen = source.options.get(role)
    fitting = [name for name, feature in features.items() if type(feature).__name__ == kind] if chosen is None else [chosen]
    if len(fitting) != 1 or fitting[0] not in features:
        there = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())
        raise ConfigError(f"data {source.spec!r}: which column is the {role}? say ?{role}=COLUMN; there are {there}")
    return fitting[0]


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__
