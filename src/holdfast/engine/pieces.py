"""Asking a model in pieces: of a size and memory layout that suit it, halved when memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import torch
from torch import Tensor

from holdfast.core.errors import ConfigError, ModelError
from holdfast.core.rows import Rows

Layout = Literal["contiguous", "channels_last"]
R = TypeVar("R", bound=Rows)


@dataclass(frozen=True)
class Pieces:
    """`rows` asked at once, in memory `layout`. Decided once a run and stored in its manifest."""

    rows: int = 128
    layout: Layout = "contiguous"

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise ConfigError(f"Pieces(rows={self.rows}): at least one row must be asked at once")

    def arrange(self, x: Tensor) -> Tensor:
        """`x` in the layout (inputs that are not images have only one)."""
        if self.layout == "channels_last" and x.ndim == 4:
            return x.contiguous(memory_format=torch.channels_last)
        return x


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a device or on the host."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "not enough memory" in str(error)


# Matrix products handle rows in blocks of a few; a row's last bits depend on whether it fell into a whole one. With pieces that are
# multiples of this, they do not (measured: float64 blocks of 4 rows, float32 of 4 below a dozen).
GRAIN = 8


class Asker:
    """Cuts rows into pieces, halves the piece when memory runs out, and counts the rows that really were asked."""

    def __init__(self, pieces: Pieces) -> None:
        self.pieces = pieces
        self.forwards = 0
        self.backwards = 0

    def each(self, n: int, ask: Callable[[slice | Tensor], R]) -> R:
        """`ask` of every piece of `n` ≥ 1 rows, joined; each row is counted as one forward. Who asks for gradients counts those.

        A piece is filled up to a multiple of `GRAIN` rows with copies of its last, whose answers are thrown away (and counted).

        Raises ModelError when even one row does not fit.
        """
        parts: list[R] = []
        start = 0
        while start < n:
            count = min(self.pieces.rows, n - start)
            filled = max(count, self.filled(count))
            rows = slice(start, start + count)
            try:
                parts.append(ask(rows) if filled == count else ask(torch.arange(start, start + filled).clamp(max=n - 1))[:count])
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                if filled == 1:
                    raise ModelError("one row does not fit into memory: use a larger device, a smaller model or smaller inputs") from error
                # No traceback may hold the failed graph while the smaller piece is tried.
                error.__traceback__ = None
                self.pieces = replace(self.pieces, rows=filled // 2)
                torch.cuda.empty_cache()
                continue
            self.forwards += filled
            start = rows.stop
        return parts[0].cat(*parts[1:])

    def filled(self, n: int) -> int:
        """How many rows are asked in place of `n` in one piece."""
        return min(-(-n // GRAIN) * GRAIN, self.pieces.rows)
