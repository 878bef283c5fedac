"""Run-time checking of tensor shapes, while the tests run."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from beartype import beartype
from jaxtyping import AbstractArray


def shaped(hint: Any) -> bool:
    return inspect.isclass(hint) and issubclass(hint, AbstractArray)


def checked(thing: Callable[..., Any]) -> Callable[..., Any]:
    """`thing` with the annotations that state a shape held against every call; the static type checker has seen the others."""
    hints = {} if isinstance(thing, type) else {name: hint for name, hint in thing.__annotations__.items() if shaped(hint)}
    if not hints:
        return thing
    thing.__annotations__ = hints
    return beartype(thing)
