"""The short form of an attack: what its function is known by, how it prints, and how it is read back from text."""

from __future__ import annotations

import ast
import difflib
import functools
import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, ParamSpec, TypeVar

from holdfast.core.attack import Attack
from holdfast.core.errors import ConfigError
from holdfast.core.expect import typed
from holdfast.core.method import Method
from holdfast.core.types import Threat
from holdfast.parts.threats import L0, L1, L2, Colour, Composed, Flow, Linf, Occlusion

P = ParamSpec("P")
T = TypeVar("T")

THREATS: dict[str, Callable[..., Threat]] = {
    "linf": Linf, "l2": L2, "l1": L1, "l0": L0, "flow": Flow, "colour": Colour, "occlusion": Occlusion,
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """What the catalogue says of an attack: its `make`, the norms it is defined for, its paper."""

    name: str
    make: Callable[..., Attack]
    threats: tuple[str, ...]
    paper: str
    minimum_norm: bool = False
    kind: str = "row"


ENTRIES: dict[str, Entry] = {}


def attack(
    paper: str, threats: tuple[str, ...] = ("linf", "l2", "l1"), minimum_norm: bool = False
) -> Callable[[Callable[P, Attack]], Callable[P, Attack]]:
    """Enter a function that returns an `Attack` into the catalogue, and have its attacks print as the call that made them."""

    def enter(make: Callable[P, Attack]) -> Callable[P, Attack]:
        made = phrased(make, threats)
        ENTRIES[make.__name__] = Entry(make.__name__, made, threats, paper, minimum_norm)
        return made

    return enter


def phrased(make: Callable[P, T], threats: tuple[str, ...]) -> Callable[P, T]:
    """`make`, but what it makes prints as the call that made it, and is refused for arguments of another kind or none of the `threats`."""
    signature, checked = inspect.signature(make), typed(make)

    @functools.wraps(make)
    def made(*args: P.args, **kwargs: P.kwargs) -> T:
        bound = signature.bind(*args, **kwargs)
        _fit(make.__name__, bound.arguments.get("threat"), threats)
        found = checked(*args, **kwargs)
        _fit(make.__name__, found.threat if isinstance(found, Attack) else None, threats)
        return replace(found, call=f"{make.__name__}({shown(bound)})")  # type: ignore[type-var]

    return made


def _fit(name: str, threat: object, threats: tuple[str, ...]) -> None:
    """Raise ConfigError where a method is not defined for a threat of ours; it is its rule that judges those of others."""
    norm = type(threat).__name__.lower()
    if threats and norm in (*THREATS, "composed") and norm not in threats:
        raise ConfigError(f"{name} is not defined for {norm}: choose one of {', '.join(threats)}, or another attack")


def shown(bound: inspect.BoundArguments) -> str:
    """The arguments of a call as people write them: the threat by its place, the others by name, defaults left out."""
    words = []
    for name, value in bound.arguments.items():
        default = bound.signature.parameters[name].default
        if default is inspect.Parameter.empty or value != default:
            words.append(_show(value) if name == "threat" else f"{name}={_show(value)}")
    return ", ".join(words)


def _show(value: object) -> str:
    if isinstance(value, Composed) and value.radius == 1:
        return " + ".join(_show(part) for part in value.parts)
    if isinstance(value, Threat):
        more = [f", {f.name}={_show(own)}" for f in fields(value) if f.repr and (own := getattr(value, f.name)) != f.default]  # type: ignore[arg-type]
        return f"{type(value).__name__}({number(value.radius)}{''.join(word for word in more if not word.startswith(', radius='))})"
    return number(value) if isinstance(value, float) else repr(value)


def number(value: float) -> str:
    """A number as people write it: briefly, in 255ths, or in full, whichever comes first that is exact."""
    if float(f"{value:g}") == value:
        return f"{value:g}"
    level = round(value * 255) if 0 < value < 1 else 0
    return f"{level}/255" if level / 255 == value else repr(value)


def threat_of(threat: Threat | float) -> Threat:
    """A bare number is the radius of an L∞ ball."""
    return threat if isinstance(threat, Threat) else Linf(float(threat))


def bounded(threat: Threat | float, name: str) -> Threat:
    """A threat with a finite, positive radius, which `name` needs.

    Raises ConfigError otherwise.
    """
    threat = threat_of(threat)
    if not (0 < threat.radius < math.inf):
        raise ConfigError(f"{name} needs a radius that is positive and finite, not {threat.radius:g}: give one, as in {name}(8/255)")
    return threat


def parse_threat(text: str) -> Threat:
    """`linf:8/255`, `l2:0.5`, `flow:1`: what may change and a radius, which may be a fraction; `colour:0.06+flow:1`: one after the other.

    Raises ConfigError for another name or a radius that is not a positive number.

    >>> parse_threat("colour:0.06+flow:1").kind
    'Colour luv 0.06 + Flow 1'
    """
    parts = re.split(r"\+(?=\s*[a-zA-Z])", text)
    if len(parts) > 1:
        return Composed(tuple(parse_threat(part.strip()) for part in parts))
    name, colon, radius = text.partition(":")
    if name.lower() not in THREATS or not colon:
        raise ConfigError(f"threat {text!r}: expected NAME:RADIUS with one of {', '.join(THREATS)}, as in linf:8/255")
    value = literal(grammar(radius, text), text)
    if not isinstance(value, int | float) or not value > 0:
        raise ConfigError(f"threat {text!r}: the radius must be a positive number, as in linf:8/255")
    return THREATS[name.lower()](float(value))


def parse(text: str, threat: Threat | None = None) -> Attack:
    """An attack from its short form, `pgd(8/255, steps=40)`: read by its grammar, never executed.

    `threat` is used where the text gives none (a bare name, or no first argument), unless the attack looks for the smallest change itself.

    >>> str(parse("pgd(8/255, steps=20)"))
    'pgd(8/255, steps=20)'
    """
    found: Attack = read(text, find, threat)
    return found


def read(text: str, entry_of: Callable[[str], Entry | Method], threat: Threat | None) -> Any:
    """What the function that `entry_of` gives for the name in a short form makes of its arguments; `threat` where they give none.

    Raises ConfigError as `parse` does, and for a threat that the function has no use for.
    """
    name, args, given = arguments(text, lambda name: entry_of(name).make)
    entry = entry_of(name)
    takes = inspect.signature(entry.make)
    if threat is not None and "threat" not in takes.parameters:
        raise ConfigError(f"{name} takes no threat, so {_show(threat)} would say nothing: leave it out")
    try:
        if threat is not None and "threat" not in takes.bind_partial(*args, **given).arguments:
            given["threat"] = replace(threat, radius=math.inf) if entry.minimum_norm else threat  # type: ignore[type-var]
        return entry.make(*args, **given)
    except TypeError as error:
        reason = str(error).replace("missing a required argument: 'threat'", "the threat is missing")
        raise ConfigError(f"attack {text!r}: {reason}; it takes {', '.join(takes.parameters)}") from error


@typed
def arguments(text: str, make: Callable[[str], Callable[..., object]]) -> tuple[str, list[object], dict[str, object]]:
    """The name, the values by place and those by name of a short form; `make(name)` is the function it calls.

    Raises ConfigError for what is no call, or a parameter that the function does not have.
    """
    tree = grammar(text, text)
    call = tree if isinstance(tree, ast.Call) else ast.Call(tree, [], [])
    if not isinstance(call.func, ast.Name):
        raise ConfigError(f"attack {text!r}: expected NAME or NAME(parameters), as in pgd(8/255, steps=40)")
    names = list(inspect.signature(make(call.func.id)).parameters)
    args = [literal(node, text) for node in call.args]
    given: dict[str, object] = {}
    for word in call.keywords:
        if word.arg is None or word.arg not in names:
            near = difflib.get_close_matches(word.arg or "", names, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ConfigError(f"{call.func.id} has no parameter {word.arg!r}: {hint}it takes {', '.join(names)}")
        given[word.arg] = literal(word.value, text)
    return call.func.id, args, given


def find(name: str) -> Entry:
    """The entry of that name; ConfigError with the nearest names otherwise."""
    if name not in ENTRIES:
        near = difflib.get_close_matches(name, ENTRIES, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(sorted(ENTRIES))}"
        raise ConfigError(f"attack {name!r} is unknown: {hint} (holdfast list attacks)")
    return ENTRIES[name]


def grammar(text: str, whole: str) -> ast.expr:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"{whole!r} cannot be read: expected a form like pgd(8/255, steps=40) or linf:8/255") from error


def literal(node: ast.expr, text: str) -> object:
    """Numbers, fractions, strings, booleans, None, tuples and threats; nothing else is understood."""
    match node:
        case ast.Constant(value=value) if value is None or isinstance(value, int | float | str):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = literal(operand, text)
            if isinstance(inner, int | float):
                return -inner
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            top, bottom = literal(left, text), literal(right, text)
            if isinstance(top, int | float) and isinstance(bottom, int | float) and bottom:
                return top / bottom
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return tuple(literal(item, text) for item in items)
        case ast.Name(id="inf"):
            return math.inf
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            before, last = literal(left, text), literal(right, text)
            if isinstance(before, Threat) and isinstance(last, Threat):
                return Composed((*(before.parts if isinstance(before, Composed) else (before,)), last))
        case ast.Call(func=ast.Name(id=name), args=[radius], keywords=words) if name.lower() in THREATS:
            size = literal(radius, text)
            if isinstance(size, int | float):
                try:
                    return THREATS[name.lower()](float(size), **{word.arg or "": literal(word.value, text) for word in words})
                except TypeError as error:
                    raise ConfigError(f"{ast.unparse(node)!r} in {text!r}: {error}") from error
    raise ConfigError(f"{ast.unparse(node)!r} in {text!r} is not a number, a fraction, a string, a tuple or a threat like L2(0.5)")
