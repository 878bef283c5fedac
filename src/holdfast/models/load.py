"""A network from what was typed: one of ours by name, or `pkg.mod:callable`; weights come from a file that runs nothing."""

from __future__ import annotations

import ast
import difflib
import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from torch import nn

from holdfast.core.errors import ConfigError, ModelError
from holdfast.core.expect import typed
from holdfast.models.nets import NETS
from holdfast.models.weights import fit, read_weights
from holdfast.parts.views import VIEWS, View

T = TypeVar("T")


@typed
def load_net(spec: str, weights: str | Path | None = None, makers: Mapping[str, Callable[..., nn.Module]] = NETS) -> nn.Module:
    """The network that `spec` names, with `weights` when given.

    `spec`: one of ours (`lenet5`, `preact_resnet18(width=16)`, `mlp(784, 10)`), whose arguments are literals, never executed;
    or `pkg.mod:callable`, imported with the working directory on the path: a function or class of no arguments, or a module.
    `makers`: our own networks by name.
    `weights`: `.safetensors`, or `.pt`, `.pth`, `.th` read as weights only; cast to the network's own float type.

    One of ours comes in eval mode; anything else keeps the mode it has.

    Raises ConfigError for a spec that names no network, ModelError for weights that cannot be read or do not fit.

    >>> load_net("mlp(4, 3, hidden=())")
    Sequential(
      (flat): Flatten(start_dim=1, end_dim=-1)
      (linear1): Linear(in_features=4, out_features=3, bias=True)
    )
    """
    ours = ":" not in spec
    net = called(spec, makers, "model", " or pkg.mod:callable", ", or your own as pkg.mod:callable") if ours else _imported(spec)
    if weights is not None:
        path = Path(weights).expanduser()
        fit(net, read_weights(path), path)
    return net.eval() if ours else net


@typed
def load_views(spec: str) -> View:
    """The views that `spec` names, as in `physical`, `athalye(0.5)` or `jpeg((50, 90))`; arguments are literals, never executed.

    Raises ConfigError for a name or an argument that there is not.

    >>> load_views("jpeg(75)")
    Jpeg(quality=75, subsampling=True, soft=False)
    """
    return called(spec, VIEWS, "views")


def called(spec: str, makers: Mapping[str, Callable[..., T]], kind: str, form: str = "", other: str = "") -> T:
    """What the maker of that name makes of the literals in `spec`; `form` and `other` say what else could have been written.

    Raises ConfigError for what cannot be read, or is not known.
    """
    try:
        tree = ast.parse(spec.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"{kind} {spec!r} cannot be read: expected NAME, NAME(arguments){form}") from error
    call = tree if isinstance(tree, ast.Call) else ast.Call(tree, [], [])
    name = ast.unparse(call.func)
    if name not in makers:
        near = difflib.get_close_matches(name, makers, 2)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise ConfigError(f"{kind} {name!r} is unknown: {hint}there are {', '.join(makers)}{other}")
    make = makers[name]
    takes = inspect.signature(make)
    usage = f"{name}({', '.join(str(p.replace(annotation=p.empty)) for p in takes.parameters.values())})"
    args = [_literal(node, spec, kind) for node in call.args]
    words = {}
    for word in call.keywords:
        if word.arg is None:
            raise ConfigError(f"{kind} {spec!r}: ** is not understood: write the arguments out, {usage}")
        words[word.arg] = _literal(word.value, spec, kind)
    try:
        bound = takes.bind(*args, **words)
    except TypeError as error:
        raise ConfigError(f"{kind} {spec!r}: {error}; it is {usage}") from error
    return make(*bound.args, **bound.kwargs)


def _literal(node: ast.expr, spec: str, kind: str) -> object:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise ConfigError(f"{kind} {spec!r}: {ast.unparse(node)!r} is not a literal: give numbers or brackets of numbers") from error


def _imported(spec: str) -> nn.Module:
    place, _, name = spec.partition(":")
    if place.endswith(".py") or "/" in place:
        remedy = f"{Path(place).stem}:{name or 'build'}"
        raise ConfigError(f"model {spec!r}: {place!r} is a file, not a module: run from its folder and write {remedy}")
    if not place or not name or not all(part.isidentifier() for part in (*place.split("."), *name.split("."))):
        raise ConfigError(f"model {spec!r}: expected pkg.mod:callable, as in my_project.nets:build")
    here = str(Path.cwd())
    if here not in sys.path:
        # It stays there: the network may import more of its package when it is first asked.
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is None or not (place == error.name or place.startswith(f"{error.name}.")):
            raise ConfigError(f"model {spec!r}: {place} imports {error.name}, which is not installed: install it") from error
        raise ConfigError(f"model {spec!r}: no module {error.name!r} in {here} or installed: run from its folder or install it") from error
    except (Exception, SystemExit) as error:  # the user's own code: it can raise anything, and a script may exit
        raise ModelError(f"model {spec!r}: importing {place} raised {_brief(error)}: mend the module, then try again") from error
    try:
        made: object = functools.reduce(getattr, name.split("."), module)
    except AttributeError as error:
        near = difflib.get_close_matches(name, vars(module), 2)
        hint = f"did you mean {' or '.join(near)}?" if near else "check the name after the colon"
        raise ConfigError(f"model {spec!r}: module {place} has no {name!r}: {hint}") from error
    if callable(made) and not isinstance(made, nn.Module):
        made = _call(made, spec)
    if not isinstance(made, nn.Module):
        kind = type(made).__name__
        raise ConfigError(f"model {spec!r} gives a {kind}, expected a torch.nn.Module: return the network itself, or wrap it in one")
    return made


def _call(make: Callable[..., object], spec: str) -> object:
    try:
        inspect.signature(make).bind()
    except TypeError as error:
        raise ConfigError(f"model {spec!r}: {error}; give a function that takes none and returns the network") from error
    except ValueError:
        pass  # built in C, with no signature to read: calling it will tell
    try:
        return make()
    except (Exception, SystemExit) as error:
        raise ModelError(f"model {spec!r}: the call raised {_brief(error)}: mend it, then try again") from error


def _brief(error: BaseException) -> str:
    """The error's type and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
