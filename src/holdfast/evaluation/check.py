"""`Check`: one question about a result and its answer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["pass", "warn", "fail", "not run"]


@dataclass(frozen=True)
class Check:
    """One question about a result and its answer: `evidence` in numbers, and where something is wrong the `remedy`.

    `pass` needs something that was tried; where nothing could be, the status is `not run`, and the evidence says why.
    """

    name: str
    status: Status
    evidence: str
    remedy: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
