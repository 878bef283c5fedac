"""Datasets with stable sample ids: one word for where the data are, one `Dataset` whatever they were."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from holdfast.core.errors import ConfigError
from holdfast.core.expect import typed
from holdfast.data.cifar10 import load_cifar10
from holdfast.data.dataset import UNLABELLED, Dataset, from_tensors
from holdfast.data.digits import load_digits
from holdfast.data.folder import load_folder
from holdfast.data.idx import load_idx
from holdfast.data.npz import load_npz
from holdfast.data.remote import load_hub, load_torchvision
from holdfast.data.source import Source

FORMATS: dict[str, Callable[[Source], Dataset]] = {
    "digits": load_digits,
    "npz": load_npz,
    "idx": load_idx,
    "folder": load_folder,
    "cifar10": load_cifar10,
    "hf": load_hub,
    "torchvision": load_torchvision,
}
"""What may stand before the colon in `--data`, and how each is read."""


@typed
def load_data(spec: str, split: str = "test", limit: int | None = None, offset: int = 0, unlabelled: bool = False) -> Dataset:
    """The data that `spec` names.

    `spec`: `digits`, `npz:FILE`, `idx:DIR`, `folder:DIR`, `cifar10:DIR`, `hf:NAME` or `torchvision:NAME`, with `?option=value`
    after it where a format has options. The first `offset` samples are left out and at most `limit` kept; a sample's id is
    the same in every part. Labels are held against the class names, where there are any, and with `unlabelled` may be −1; floats must
    be finite.

    Raises ConfigError for an unknown format, option or split, InputError for data that are missing, damaged or unfit.

    >>> data = load_data("digits", limit=100)
    >>> data.x.shape, data.x.dtype
    (torch.Size([100, 1, 8, 8]), torch.float32)
    """
    source = Source.parse(spec, split, limit, offset)
    if source.kind not in FORMATS:
        near = [f"npz:{spec}"] if source.kind.endswith(".npz") else difflib.get_close_matches(source.kind, FORMATS, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        forms = ", ".join(FORMATS)
        raise ConfigError(f"data {spec!r}: unknown format {source.kind!r}: {hint}expected FORMAT:PLACE with one of {forms}")
    data = FORMATS[source.kind](source)
    data.validate(unlabelled=unlabelled)
    return data


__all__ = ["FORMATS", "UNLABELLED", "Dataset", "from_tensors", "load_data"]
