"""What the catalogue says of a method that is no attack on single rows: those are entered by their own decorator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from holdfast.core.types import Access


@dataclass(frozen=True)
class Method:
    """A method by its function: its `kind`, what it must be able to ask of a model, the norms it is defined for, its paper."""

    make: Callable[..., Any]
    kind: Literal["shared", "exact", "data", "synthesis"]
    access: Access
    paper: str
    threats: tuple[str, ...] = ()
    minimum_norm: bool = False

    @property
    def name(self) -> str:
        """What the function is called."""
        return self.make.__name__
