"""The one loop that carries out every attack."""

from holdfast.engine.outcome import NONE, Found, Outcome
from holdfast.engine.perturb import perturb
from holdfast.engine.pieces import Asker, Pieces, tune
from holdfast.engine.run import run
from holdfast.engine.samples import Samples, clean_answers
from holdfast.engine.setting import Progress, Setting, admit
from holdfast.engine.single import attack

__all__ = [
    "NONE",
    "Asker",
    "Found",
    "Outcome",
    "Pieces",
    "Progress",
    "Samples",
    "Setting",
    "admit",
    "attack",
    "clean_answers",
    "perturb",
    "run",
    "tune",
]
