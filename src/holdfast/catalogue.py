"""Every method by name, with its kind, access, threats and paper; and the other things that have names."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from holdfast import exact, synthesis
from holdfast.attacks.short import ENTRIES, THREATS
from holdfast.core.errors import ConfigError
from holdfast.defences.layers import DENOISING_NETS, LAYERS
from holdfast.evaluation import SUITES
from holdfast.evaluation.checks import CHECKS
from holdfast.evaluation.suites import suite_entries
from holdfast.models import nets
from holdfast.parts.objectives import OBJECTIVES
from holdfast.parts.threats import Linf
from holdfast.parts.views import VIEWS
from holdfast.reproduce import STUDIES
from holdfast.training.objective import OBJECTIVES as LESSONS
from holdfast.training.shared import SHARED

Row = dict[str, Any]
NETS: dict[str, Callable[..., nn.Module]] = dict(sorted((nets.NETS | DENOISING_NETS).items()))
"""All our own networks by name, plain or with layers that defend them."""


def _first(doc: str | None) -> str:
    return (doc or "").strip().splitlines()[0]


def attacks() -> list[Row]:
    """The attacks, and what else fools models: name, kind, what they must be able to ask, the norms they know, paper, one sentence."""
    rows = []
    for name, entry in sorted(ENTRIES.items()):
        made = entry.make(THREATS[entry.threats[0]](1.0))
        rows.append(
            {
                "name": name, "kind": entry.kind, "access": made.rule.needs.name.lower(), "threats": list(entry.threats),
                "minimum_norm": entry.minimum_norm, "paper": entry.paper, "summary": _first(entry.make.__doc__),
            }
        )  # fmt: skip
    others = [
        {
            "name": method.name, "kind": method.kind, "access": method.access.name.lower(), "threats": list(method.threats),
            "minimum_norm": method.minimum_norm, "paper": method.paper, "summary": _first(method.make.__doc__),
        }
        for method in (*exact.METHODS, *synthesis.METHODS, *SHARED.values())
    ]  # fmt: skip
    return sorted([*rows, *others], key=lambda row: str(row["name"]))


def suites() -> list[Row]:
    """The suites, with their attacks at an L∞ radius of 8/255."""
    threat = Linf(8 / 255)
    return [
        {"name": name, "attacks": [str(item.attack) for item in suite_entries(name, threat)], "summary": _first(make.__doc__)}
        for name, make in SUITES.items()
    ]


def threats() -> list[Row]:
    """The threats, as `--threat` takes them."""
    return [{"name": name, "form": f"{name}:RADIUS", "summary": _first(kind.__doc__)} for name, kind in THREATS.items()]


def objectives() -> list[Row]:
    """The objectives: those that an attack climbs, by the names that attacks take, and those that training descends."""
    rows = [(name, kind.least_classes, kind.__doc__) for name, kind in OBJECTIVES.items()]
    climbed = [{"name": name, "kind": "attack", "least_classes": least, "summary": _first(doc)} for name, least, doc in rows]
    descended = [
        {"name": name, "kind": "training", "paper": entry.paper, "summary": _first(entry.make.__doc__)}
        for name, entry in sorted(LESSONS.items())
    ]
    return [*climbed, *descended]


def models() -> list[Row]:
    """Our own architectures, as `--model` takes them."""
    return [{"name": name, "summary": _first(make.__doc__)} for name, make in NETS.items()]


def layers() -> list[Row]:
    """Layers that defend a net from inside, as `holdfast.defences.layers` has them, with what they take."""
    rows = [(name, inspect.signature(kind).parameters.values(), kind.__doc__) for name, kind in LAYERS.items()]
    return [
        {"name": name, "takes": [str(p.replace(annotation=p.empty)) for p in takes], "summary": _first(doc)} for name, takes, doc in rows
    ]


def reproductions() -> list[Row]:
    """Tables and figures of documents, as `holdfast reproduce` runs them again."""
    return [{"name": study.name, "document": study.document, "summary": study.claim, "made_for": study.data} for study in STUDIES.values()]


def views() -> list[Row]:
    """What a model may see its inputs through, as `--views` takes them."""
    return [{"name": name, "summary": _first(make.__doc__)} for name, make in VIEWS.items()]


def checks() -> list[Row]:
    """The trust checks of a result."""
    return [{"name": name, "summary": _first(check.__doc__)} for name, check in CHECKS.items()]


KINDS = {
    "attacks": attacks,
    "suites": suites,
    "threats": threats,
    "objectives": objectives,
    "models": models,
    "layers": layers,
    "reproductions": reproductions,
    "views": views,
    "checks": checks,
}


def listing(kind: str) -> list[Row]:
    """All there is of a kind.

    Raises ConfigError for an unknown kind.
    """
    if kind not in KINDS:
        raise ConfigError(f"nothing is listed under {kind!r}: choose one of {', '.join(KINDS)}")
    return KINDS[kind]()
