"""`Shared`: the sentence that says what one perturbation for all inputs is, and how it is fitted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal

from holdfast.core.errors import ConfigError
from holdfast.core.expect import expect_fields
from holdfast.training.shared.ask import Scene
from holdfast.training.shared.moves import Move


@dataclass(frozen=True)
class Shared:
    """One perturbation for all inputs: where it goes and how it is seen (`scene`), how it moves, how long.

    `passes` over the data in batches of `batch`, each in its own order; `until`: the rate of fooled inputs at which it is enough;
    `keep`: the perturbation of the `best` pass (of equals the last), or of the `last`;
    `target`: the class that all are to be taken for, None for any other than the model's own.
    """

    scene: Scene
    move: Move
    passes: int = 10
    batch: int = 128
    until: float | None = None
    target: int | None = None
    keep: Literal["best", "last"] = "best"
    call: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        expect_fields(self)
        if self.passes < 1 or self.batch < 1 or self.scene.draws < 1:
            raise ConfigError(f"passes={self.passes}, batch={self.batch}, draws={self.scene.draws}: each is a whole number of at least 1")
        if self.until is not None and not 0 < self.until <= 1:
            raise ConfigError(f"until={self.until}: expected a rate of fooled inputs in (0, 1]")
        if self.target is not None and self.target < 0:
            raise ConfigError(f"target={self.target}: expected the number of a class, or None for any")

    def __str__(self) -> str:
        return self.call or repr(self)

    @property
    def name(self) -> str:
        """The catalogue's name."""
        return self.call.partition("(")[0]

    @property
    def digest(self) -> str:
        """A hash of the expanded form: what a half-done fit is known by."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]
