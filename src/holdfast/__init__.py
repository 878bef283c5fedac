"""Holdfast measures how robust a neural network really is."""

from pathlib import Path

from holdfast import attacks, exact, models, synthesis
from holdfast.core.attack import Attack
from holdfast.core.errors import ConfigError, HoldfastError, InputError, ModelError, StoreError
from holdfast.data import Dataset, load_data
from holdfast.engine import attack
from holdfast.evaluation import Budget, Result, evaluate, merge, spectra
from holdfast.models import Classifier
from holdfast.parts import views
from holdfast.parts.threats import L0, L1, L2, Linf
from holdfast.version import __version__


def _report(result: Result, path: Path) -> Path:
    # Imported when asked for: charts are slow to load.
    from holdfast.report import html_report

    return html_report(result, path)


Result.reporter = staticmethod(_report)

__all__ = [
    "L0",
    "L1",
    "L2",
    "Attack",
    "Budget",
    "Classifier",
    "ConfigError",
    "Dataset",
    "HoldfastError",
    "InputError",
    "Linf",
    "ModelError",
    "Result",
    "StoreError",
    "__version__",
    "attack",
    "attacks",
    "evaluate",
    "exact",
    "load_data",
    "merge",
    "models",
    "spectra",
    "synthesis",
    "views",
]
