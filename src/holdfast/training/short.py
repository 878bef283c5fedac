"""The short form of an objective: `trades(beta=6)`, `awp(trades(beta=6), gamma=0.005)`, read by its grammar, never executed."""

from __future__ import annotations

import ast
import difflib
import inspect
from collections.abc import Mapping

from holdfast.attacks.short import grammar, literal
from holdfast.core.errors import ConfigError
from holdfast.core.expect import typed
from holdfast.core.types import Threat
from holdfast.models import Classifier
from holdfast.training.objective import OBJECTIVES, Objective


@typed
def parse_objective(text: str, threat: Threat | None = None, teacher: Classifier | None = None) -> Objective:
    """An objective from its short form; `threat` and `teacher` are used where it takes one and the text gives none.

    Arguments are numbers, fractions, strings, tuples, threats as `L2(0.5)`, and for what wraps another: an objective.

    Raises ConfigError for a name, parameter or value that is not known, and for a teacher that nothing in it takes.

    >>> from holdfast import Linf
    >>> parse_objective("awp(trades(beta=3), gamma=0.01)", Linf(8 / 255)).inner.beta
    3
    """
    apart = {name: value for name, value in (("threat", threat), ("teacher", teacher)) if value is not None}
    taken: set[str] = set()
    made = _made(grammar(text, text), text, apart, taken)
    if teacher is not None and "teacher" not in taken:
        raise ConfigError(f"objective {text!r} takes no teacher, so the one given would teach nothing: leave it out, or take distillation")
    return made


def _made(tree: ast.expr, text: str, apart: Mapping[str, object], taken: set[str]) -> Objective:
    """What the objective's function makes of its arguments; names in `taken` are those it took from `apart`."""
    call = tree if isinstance(tree, ast.Call) else ast.Call(tree, [], [])
    name = ast.unparse(call.func)
    if name not in OBJECTIVES:
        near = difflib.get_close_matches(name, OBJECTIVES, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(sorted(OBJECTIVES))}"
        raise ConfigError(f"objective {name!r} is unknown: {hint} (holdfast list objectives)")
    make = OBJECTIVES[name].make
    takes = inspect.signature(make)

    def read(own: str, node: ast.expr) -> object:
        return _made(node, text, apart, taken) if own == "objective" else literal(node, text)

    places = [*takes.parameters, *[""] * len(call.args)]
    args = [read(own, node) for own, node in zip(places, call.args, strict=False)]
    given: dict[str, object] = {}
    for word in call.keywords:
        if word.arg is None or word.arg not in takes.parameters:
            near = difflib.get_close_matches(word.arg or "", takes.parameters, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ConfigError(f"{name} has no parameter {word.arg or ast.unparse(word)!r}: {hint}it takes {', '.join(takes.parameters)}")
        given[word.arg] = read(word.arg, word.value)
    try:
        stated = takes.bind_partial(*args, **given).arguments
        for own in takes.parameters.keys() & apart.keys() - stated.keys():
            given[own] = apart[own]
            taken.add(own)
        bound = takes.bind(*args, **given)
    except TypeError as error:
        reason = str(error).replace("missing a required argument: 'threat'", "the threat is missing, as in --threat linf:8/255")
        raise ConfigError(f"objective {text!r}: {name}: {reason}; it takes {', '.join(takes.parameters)}") from error
    made: Objective = make(*bound.args, **bound.kwargs)
    return made
