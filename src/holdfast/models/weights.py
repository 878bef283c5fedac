"""Weights from a file that runs nothing, taken out of their usual wrappings and fitted to a network."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from holdfast.core.errors import ModelError

SUFFIXES = (".safetensors", ".pt", ".pth", ".th")
WRAPPINGS = ("state_dict", "model_state_dict", "model", "net")
PREFIXES = ("module.", "model.", "_orig_mod.")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors by name in a `.safetensors` file, or in a `.pt`, `.pth` or `.th` read as weights only, on the CPU.

    Raises ModelError for a file that is missing, empty, damaged, of another kind, or that holds pickled code.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ModelError(f"weights {path}: suffix {path.suffix!r} is not known: expected one of {', '.join(SUFFIXES)}")
    try:
        if path.stat().st_size == 0:
            raise ModelError(f"weights {path}: the file is empty: save the weights again")
        held = safetensors.torch.load_file(path) if path.suffix.lower() == ".safetensors" else _load_pickle(path)
    except ModelError:
        raise
    except FileNotFoundError as error:
        raise ModelError(f"weights {path}: no such file: check the path") from error
    except Exception as error:  # a damaged file can raise anything on its way through the readers
        code = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if code:
            raise ModelError(
                f"weights {path}: holds {code[1]}, an object and not a tensor, which is never unpickled: "
                f"save tensors alone, torch.save(net.state_dict(), ...), or use safetensors"
            ) from error
        reason = f"{type(error).__name__}: {' '.join(str(error).split()).partition('. ')[0][:120]}"
        raise ModelError(f"weights {path}: damaged, or of another kind ({reason}): save net.state_dict() again") from error
    return _unwrapped(held, path)


def _load_pickle(path: Path) -> object:
    with warnings.catch_warnings():
        # What torch warns of here (TorchScript archives, old storage types) it then refuses, or reads well.
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def _unwrapped(held: object, path: Path) -> dict[str, Tensor]:
    while isinstance(held, Mapping):
        if held and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in held.items()):
            return dict(held)
        inner = next((held[key] for key in WRAPPINGS if isinstance(held.get(key), Mapping)), None)
        if inner is None:
            break
        held = inner
    what = f"a mapping with keys {', '.join(map(str, list(held)[:4])) or '(none)'}" if isinstance(held, Mapping) else type(held).__name__
    raise ModelError(f"weights {path}: holds {what}, expected tensors by name: save net.state_dict()")


def fit(net: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load `state` into `net`, every name and every shape; a prefix that wrappers put before all names is dropped.

    Raises ModelError naming the first names that are missing or left over, or the first shape that differs.
    """
    wanted = net.state_dict()
    state = _plain(state, wanted)
    for name, value in wanted.items():
        if isinstance(value, Tensor) and name in state and state[name].shape != value.shape and not is_lazy(value):
            raise ModelError(
                f"weights {path}: {name} has shape {list(state[name].shape)}, the network wants {list(value.shape)}: "
                f"build the network with the arguments it was trained with, or give other weights"
            )
    try:
        missing, extra = net.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ModelError(f"weights {path}: the network refuses them ({' '.join(str(error).split())[:200]}): check both") from error
    told = [f"{word} {_some(names)}" for word, names in (("lacks", missing), ("has besides", extra)) if names]
    if told:
        raise ModelError(
            f"weights {path}: for {type(net).__name__} the file {' and '.join(told)}: name the architecture that these weights belong to"
        )


def _plain(state: Mapping[str, Tensor], wanted: Mapping[str, object]) -> dict[str, Tensor]:
    """`state` without the prefixes that all its names share and the network's do not."""
    state = dict(state)
    while not state.keys() & wanted.keys():
        prefix = next((p for p in PREFIXES if all(name.startswith(p) for name in state)), None)
        if prefix is None:
            break
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
