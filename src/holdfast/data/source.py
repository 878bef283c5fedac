"""What `--data` says, taken apart: `FORMAT:PLACE?option=value&option=value`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl

from holdfast.core.errors import ConfigError, InputError


@dataclass(frozen=True)
class Source:
    """Where data come from and which part is wanted: every format is a function of one of these."""

    spec: str
    kind: str
    place: str
    split: str = "test"
    limit: int | None = None
    offset: int = 0
    options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, spec: str, split: str = "test", limit: int | None = None, offset: int = 0) -> Self:
        """Take `spec` apart.

        Raises ConfigError when what follows the question mark is not option=value.
        """
        head, mark, tail = spec.strip().partition("?")
        kind, _, place = head.partition(":")
        try:
            options = dict(parse_qsl(tail, strict_parsing=True)) if mark else {}
        except ValueError as error:
            raise ConfigError(f"data {spec!r}: cannot read {tail!r} after '?': expected option=value") from error
        return cls(spec, kind, place, split, limit, offset, options)

    def allow(self, options: Iterable[str] = ()) -> None:
        """Raise ConfigError for an option that is not among these."""
        known = list(options)
        for name in self.options:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(known) or 'none'}"
                raise ConfigError(f"data {self.spec!r}: {self.kind} has no option {name!r}: {hint}")

    def number(self, name: str, default: int | None = None) -> int | None:
        """The option of that name as a whole number above zero.

        Raises ConfigError otherwise.
        """
        text = self.options.get(name)
        if text is None:
            return default
        if not text.isdecimal() or int(text) < 1:
            raise ConfigError(f"data {self.spec!r}: {name}={text!r}: expected a whole number, 1 or more")
        return int(text)

    def path(self, what: str) -> Path:
        """The place as a path that exists; `what` (FILE or DIR) says of which sort.

        Raises ConfigError when no place is given, InputError when there is none such.
        """
        if not self.place:
            raise ConfigError(f"data {self.spec!r}: a {what} is missing: write {self.kind}:{what}")
        path = Path(self.place).expanduser()
        if not path.exists():
            raise InputError(f"data {self.spec!r}: no such {what.lower()}: {path}: check the path")
        if path.is_dir() != (what == "DIR"):
            raise InputError(f"data {self.spec!r}: {path} is a {'folder' if path.is_dir() else 'file'}: expected {self.kind}:{what}")
        return path
