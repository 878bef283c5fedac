"""The short form of a shared perturbation: `universal(10/255, passes=5)`, entered into the catalogue and read back from text."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec

from holdfast.attacks.short import phrased, read
from holdfast.core.errors import ConfigError
from holdfast.core.method import Method
from holdfast.core.types import Access, Threat
from holdfast.training.shared.sentence import Shared

P = ParamSpec("P")

SHARED: dict[str, Method] = {}


def shared(paper: str, threats: tuple[str, ...] = ()) -> Callable[[Callable[P, Shared]], Callable[P, Shared]]:
    """Enter a function that returns a `Shared` into the catalogue, and have its sentences print as the call that made them."""

    def enter(make: Callable[P, Shared]) -> Callable[P, Shared]:
        made = phrased(make, threats)
        SHARED[make.__name__] = Method(made, "shared", Access.GRADIENT, paper, threats)
        return made

    return enter


def parse_shared(text: str, threat: Threat | None = None) -> Shared:
    """A method from its short form, `rp2(3, mask='bars')`: read by its grammar, never executed; `threat` where the text gives none.

    Raises ConfigError for a name, parameter or value that is not known, and for a threat where the method has none.

    >>> str(parse_shared("universal(10/255, passes=5)"))
    'universal(10/255, passes=5)'
    """
    found: Shared = read(text, find_shared, threat)
    return found


def find_shared(name: str) -> Method:
    """The entry of that name; ConfigError where there is none."""
    if name not in SHARED:
        raise ConfigError(f"no shared perturbation is called {name!r}: there are {', '.join(sorted(SHARED))} (holdfast list attacks)")
    return SHARED[name]
