"""Evaluations: plan, run, store, tables."""

from holdfast.evaluation.entry import Entry
from holdfast.evaluation.evaluate import Event, evaluate
from holdfast.evaluation.plan import CONVERGE, CURVE, Budget, Plan, plan
from holdfast.evaluation.result import Result
from holdfast.evaluation.spectra import Spectra, spectra
from holdfast.evaluation.store import Store, merge
from holdfast.evaluation.suites import SUITES

__all__ = [
    "CONVERGE",
    "CURVE",
    "SUITES",
    "Budget",
    "Entry",
    "Event",
    "Plan",
    "Result",
    "Spectra",
    "Store",
    "evaluate",
    "merge",
    "plan",
    "spectra",
]
