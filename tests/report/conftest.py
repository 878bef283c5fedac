"""The runs that reports are made of."""

from __future__ import annotations

from report_bands import bands_run, halted_run, make

__all__ = ["bands_run", "halted_run", "make"]
