"""Reports: a run's records as one self-contained page, as JSON, and as a panel for the terminal."""

from holdfast.report.export import Exported, export
from holdfast.report.html import html_report
from holdfast.report.machine import json_report
from holdfast.report.spectral import spectra_report
from holdfast.report.terminal import terminal
from holdfast.report.training import training_report
from holdfast.report.verdict import verdict

__all__ = ["Exported", "export", "html_report", "json_report", "spectra_report", "terminal", "training_report", "verdict"]
