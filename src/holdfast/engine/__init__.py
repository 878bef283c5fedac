"""The one loop that carries out every attack."""

from holdfast.engine.choose import choose
from holdfast.engine.outcome import NONE, Found, Outcome
from holdfast.engine.perturb import perturb
from holdfast.engine.pieces import Asker, Pieces
from holdfast.engine.replica import Choice, replica
from holdfast.engine.run import run
from holdfast.engine.samples import Samples, clean_answers
from holdfast.engine.setting import Progress, Setting, admit, admit_model
from holdfast.engine.single import attack
from holdfast.engine.straight import straight

__all__ = [
    "NONE",
    "Asker",
    "Choice",
    "Found",
    "Outcome",
    "Pieces",
    "Progress",
    "Samples",
    "Setting",
    "admit",
    "admit_model",
    "attack",
    "choose",
    "clean_answers",
    "perturb",
    "replica",
    "run",
    "straight",
]
