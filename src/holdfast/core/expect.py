"""What is of another kind than a signature states is told so in one line, where it comes in."""

from __future__ import annotations

import functools
import inspect
import math
import types
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from jaxtyping import AbstractArray
from torch import Tensor

from holdfast.core.errors import ConfigError, HoldfastError, InputError, ModelError
from holdfast.core.types import Model, Ranged

P = ParamSpec("P")
T = TypeVar("T")

WORDS = {
    "Attack": "an attack on rows, as attacks.pgd(8/255) (a shared perturbation goes to training.shared.fit)",
    "Classifier": "a Classifier around the network, as Classifier(net, classes=10)",
    "Fitted": "what training.shared.fit gives back",
    "Model": "a Classifier around the network, as Classifier(net, classes=10)",
    "NoneType": "None",
    "Objective": "an objective, as training.objectives.pgd(8/255)",
    "Shared": "a shared perturbation, as training.shared.universal(8/255) (an attack on rows goes to holdfast.attack)",
    "Tensor": "a tensor; torch.as_tensor makes one of arrays and lists",
    "Threat": "a threat, as Linf(8/255)",
    "View": "a view, as views.Jpeg(50) (models.load_views makes one of its name)",
    "float": "a number",
    "int": "a whole number",
    "str": "a string",
}
"""What each kind is in words, and how to come by one."""


def typed(call: Callable[P, T]) -> Callable[P, T]:
    """`call`, but what is not of the kind that its annotations state is refused in one line: ModelError, InputError or ConfigError."""
    signature = inspect.signature(call)

    @functools.wraps(call)
    def made(*args: P.args, **kwargs: P.kwargs) -> T:
        expect(call.__name__, signature.bind(*args, **kwargs).arguments, _hints(call))
        return call(*args, **kwargs)

    return made


def expect_fields(thing: object) -> None:
    """Raise as `typed` does where a field of a dataclass is not of its kind."""
    kind: Callable[..., Any] = type(thing)
    expect(kind.__name__, vars(thing), _hints(kind))


def expect_within(name: str, low: float, high: float = math.inf, **values: float) -> None:
    """Raise ConfigError where one of the numbers given to what is called `name` is not in [low, high).

    >>> expect_within("trades", 0, beta=6.0)
    """
    for word, value in values.items():
        if not low <= value < high:
            least = f"a finite number from {low:g}" if math.isinf(high) else f"a number from {low:g} to below {high:g}"
            raise ConfigError(f"{name}({word}={value:g}): expected {least}")


def expect(name: str, values: Mapping[str, object], hints: Mapping[str, Any]) -> None:
    """Raise where one of the `values` given to what is called `name` does not fit the hint of its name."""
    for word, value in values.items():
        hint = hints.get(word, Any)
        if not fits(value, hint):
            found = f"{word}={value!r}" if isinstance(value, str | Real | None) else f"{word} is of type {type(value).__name__}"
            raise _error(hint)(f"{name}: {found}: expected {_words(hint)}")


def fits(value: object, hint: Any) -> bool:
    """Whether a value is of the kind that an annotation states; what is stated of shapes and choices is for others to say.

    >>> fits(3, float), fits("3", float | None), fits((1, 2), tuple[int, ...]), fits("12", Sequence[int])
    (True, False, True, False)
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if origin is tuple and parts[-1:] != (...,):
        return isinstance(value, tuple | list) and len(value) == len(parts) and all(map(fits, value, parts))
    if origin in (tuple, Sequence):
        return isinstance(value, origin) and all(fits(one, parts[0]) for one in value)
    if origin is Literal or hint is Any or isinstance(hint, TypeVar | str):
        return True
    if hint is Model:
        return isinstance(value, Ranged)
    kind = {float: Real, int: Integral}.get(hint, origin or hint)
    return isinstance(value, Tensor if issubclass(kind, AbstractArray) else kind)


def _words(hint: Any) -> str:
    """What an annotation states, in words."""
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_words(part) for part in get_args(hint))
    if get_origin(hint) in (tuple, Sequence):
        return f"a {get_origin(hint).__name__.lower()} of {' and '.join(_words(part) for part in get_args(hint) if part is not ...)}"
    name = getattr(hint, "__name__", str(hint))
    return WORDS.get(name, f"a {name}")


def _error(hint: Any) -> type[HoldfastError]:
    names = {getattr(part, "__name__", "") for part in (hint, *get_args(hint))}
    return ModelError if names & {"Model", "Classifier"} else InputError if "Tensor" in names else ConfigError


@functools.cache
def _hints(thing: Callable[..., Any]) -> dict[str, Any]:
    return get_type_hints(thing)
