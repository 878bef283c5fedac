"""The short form of a shared perturbation: `universal(10/255, passes=5)`, entered into the catalogue and read back from text."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import ParamSpec

from holdfast.attacks.short import THREATS, arguments, shown
from holdfast.core.errors import ConfigError
from holdfast.core.method import Method
from holdfast.core.types import Access, Threat
from holdfast.training.shared.placements import Added
from holdfast.training.shared.sentence import Shared

P = ParamSpec("P")


SHARED: dict[str, Method] = {}


def shared(paper: str, threats: tuple[str, ...] = ()) -> Callable[[Callable[P, Shared]], Callable[P, Shared]]:
    """Enter a function that returns a `Shared` into the catalogue, and have its sentences print as the call that made them."""

    def enter(make: Callable[P, Shared]) -> Callable[P, Shared]:
        signature = inspect.signature(make)

        @functools.wraps(make)
        def made(*args: P.args, **kwargs: P.kwargs) -> Shared:
            words = shown(signature.bind(*args, **kwargs))
            method = make(*args, **kwargs)
            placement = method.scene.placement
            norm = type(placement.threat).__name__.lower() if isinstance(placement, Added) else ""
            if norm in THREATS and threats and norm not in threats:
                raise ConfigError(f"{make.__name__} is not defined for {norm}: choose one of {', '.join(threats)}")
            return replace(method, call=f"{make.__name__}({words})")

        SHARED[make.__name__] = Method(made, "shared", Access.GRADIENT, paper, threats)
        return made

    return enter


def parse_shared(text: str, threat: Threat | None = None) -> Shared:
    """A method from its short form, `rp2(3, mask='bars')`: read by its grammar, never executed; `threat` where the text gives none.

    Raises ConfigError for a name, parameter or value that is not known.

    >>> str(parse_shared("universal(10/255, passes=5)"))
    'universal(10/255, passes=5)'
    """
    name, args, given = arguments(text, lambda name: find_shared(name).make)
    entry = find_shared(name)
    if threat is not None and not args and "threat" not in given and entry.threats:
        given["threat"] = threat
    try:
        return entry.make(*args, **given)
    except TypeError as error:
        reason = str(error).replace("missing a required argument: 'threat'", "the threat is missing")
        raise ConfigError(f"attack {text!r}: {reason}; it takes {', '.join(inspect.signature(entry.make).parameters)}") from error


def find_shared(name: str) -> Method:
    """The entry of that name; ConfigError where there is none."""
    if name not in SHARED:
        raise ConfigError(f"no shared perturbation is called {name!r}: there are {', '.join(sorted(SHARED))} (holdfast list attacks)")
    return SHARED[name]
