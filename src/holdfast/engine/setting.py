"""How a run is carried out, what it reports on the way, and whether it may begin."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.core.attack import Attack
from holdfast.core.errors import ConfigError, InputError, ModelError
from holdfast.core.expect import expect_fields, typed
from holdfast.core.types import Access, Model, Verdict
from holdfast.engine.pieces import Pieces


@dataclass(frozen=True)
class Setting:
    """How a run is carried out. None of it but `seed` and `verdict` changes a record.

    `slots`: rows in flight; `harvest`: steps between two looks at which rows are done; `pieces`: how the model is asked; `verdict`: how
    claims are verified. None is what suits the model: on a CPU 512 slots and a look at every step, elsewhere 2048 and every fourth.
    """

    seed: int = 0
    slots: int | None = None
    harvest: int | None = None
    pieces: Pieces | None = None
    verdict: Verdict | None = None

    def __post_init__(self) -> None:
        expect_fields(self)
        for name, value in (("slots", self.slots), ("harvest", self.harvest)):
            if value is not None and not (isinstance(value, int) and value >= 1):
                raise ConfigError(f"{name}={value}: expected a whole number of at least 1")
        if not isinstance(self.seed, int) or not -(2**63) <= self.seed < 2**63:
            raise ConfigError(f"seed={self.seed}: expected a whole number of 64 bits")


@dataclass(frozen=True)
class Fitted:
    seed: int
    slots: int
    harvest: int
    pieces: Pieces
    verdict: Verdict


def fitted(setting: Setting, model: Model) -> Fitted:
    """On a CPU 512 slots, pieces of 128 rows, a look at every step; elsewhere 2048, 2048, every fourth."""
    host = model.device.type == "cpu"
    return Fitted(
        setting.seed,
        setting.slots or (512 if host else 2048),
        setting.harvest or (1 if host else 4),
        setting.pieces or Pieces(128 if host else 2048),
        setting.verdict or Verdict.of(model),
    )


@dataclass(frozen=True)
class Progress:
    """How far a run is: `rows` finished or skipped of `total`, samples `broken` so far."""

    rows: int
    total: int
    broken: int


@typed
def admit_model(model: Model, name: str, needs: Access = Access.DECISION) -> None:
    """Raise unless it is a model, gives what the method `name` needs, and answers rows independently."""
    if needs > model.access:
        raise ConfigError(
            f"{name} needs {needs.name}, but the model gives only {model.access.name}: "
            f"choose a method that needs no more (holdfast list attacks)"
        )
    if not model.independent:
        raise ModelError("the model's answer to one row depends on the others (batch norm in training mode?): call .eval() on it first")


@typed
def admit(attack: Attack, model: Model, shape: tuple[int, ...]) -> None:
    """Raise unless it is an attack on rows that the model lets be made, and inputs of one's `shape` can be so changed."""
    admit_model(model, attack.name, attack.rule.needs)
    unfit = attack.threat.unfit(shape)
    if unfit:
        raise InputError(f"{attack} does not fit inputs of shape {['n', *shape]}: {unfit}; choose another threat, such as linf:8/255")
