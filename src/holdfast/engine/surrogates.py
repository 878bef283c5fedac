"""`Surrogates`: while a net answers, torch's steps, saturated curves and cuts get a slope to go by; values stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

STEPS = {"round", "floor", "ceil", "trunc", "fix", "sign", "sgn", "heaviside"}
CLAMPS = {"clamp", "clip", "hardtanh", "clamp_min", "clamp_max"}
CURVES = {"tanh", "sigmoid"}
SQUASHES = STEPS | CLAMPS | CURVES | {"softmax"}
"""Each class through the same rising curve, so that what was largest before it is largest after it."""
RISING = {"log", "log2", "log10", "log1p", "exp", "sqrt"}
ABOVE, BELOW = {"gt", "ge", "greater", "greater_equal"}, {"lt", "le", "less", "less_equal"}
CASTS = {"to", "type", "type_as", "float", "double", "half", "bfloat16", "int", "long", "byte", "short", "char", "bool", "cpu", "cuda"}
SHAPES = {
    "reshape", "view", "flatten", "unflatten", "unsqueeze", "squeeze", "permute", "transpose", "movedim", "expand", "repeat", "contiguous",
    "clone", "__getitem__", "stack", "cat", "sum", "mean",
}  # fmt: skip
SUMS, PRODUCTS = {"add", "sub", "__rsub__", "neg"}, {"mul", "multiply", "div", "true_divide", "divide"}
LOGIC: dict[str, Callable[..., Tensor]] = {
    **dict.fromkeys(("__and__", "logical_and", "bitwise_and"), torch.minimum),
    **dict.fromkeys(("__or__", "logical_or", "bitwise_or"), torch.maximum),
    **dict.fromkeys(("__invert__", "logical_not", "bitwise_not"), torch.neg),
}
FOLLOWED = CASTS | SHAPES | SUMS | PRODUCTS | RISING | set(LOGIC)
AUGMENTED = {"__iadd__": "add", "__isub__": "sub", "__imul__": "mul", "__itruediv__": "div", "__setitem__": "masked_fill"}
RETURNS = {"tensor", "as_tensor", "stack", "cat"} | CASTS
LEAVES = {"numpy", "__array__", "tolist", "item", "__float__", "__int__", "__bool__"}
FLAT = 1e-6
"""A saturated curve: its slope is below this."""
DATA = torch.Tensor.data.__get__  # type: ignore[attr-defined]


@final
class Surrogates(TorchFunctionMode):
    """One answer's worth of straight-through gradients (Bengio et al. 2013; BPDA, Athalye, Carlini & Wagner 2018, section 4.1.1).

    Each operation gives its own values. Backward a step passes its gradient on unchanged, a clamp also outside its range, a saturated
    curve with slope 1/(1 + u²); a comparison that becomes numbers has the slope of the difference compared, a one-hot winner that of the
    scores it won by; `detach` and `no_grad` do nothing; what left torch (numpy) and came back in the same shape is taken for what left.
    `soft` keeps, beside a tensor, what would stand in its place without the steps and squashes since; `cuts` what left torch.

    *Differs from* the true gradient only there: ReLU, one-sided clamps, ReLU6 and curves that are not saturated keep theirs.

    >>> x = torch.tensor([0.2, 0.9], requires_grad=True)
    >>> with Surrogates():
    ...     y = (x > 0.5).float().sum()
    >>> y.item(), torch.autograd.grad(y, x)[0].tolist()
    (1.0, [1.0, 1.0])
    """

    def __init__(self) -> None:
        super().__init__()
        # The tensor itself is kept, so that its id stays its own.
        self.soft: dict[int, tuple[Tensor, Tensor]] = {}
        self.winners: dict[int, tuple[Tensor, Tensor, int]] = {}
        self.cuts: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        name = "detach" if func == DATA else getattr(func, "__name__", "")
        place = name in AUGMENTED or (name.endswith("_") and not name.endswith("__")) or bool(kwargs.get("inplace"))
        base = AUGMENTED.get(name, name.removesuffix("_") if place else name)
        if place and args and not torch.is_grad_enabled():
            self.soft.pop(id(args[0]), None)
            return func(*args, **kwargs)
        if torch.is_grad_enabled() or not any(t.requires_grad or id(t) in self.soft for t in _tensors(args)):
            return self._answer(func, base, place, args, kwargs)
        with torch.inference_mode(False), torch.enable_grad():
            return self._answer(func, base, place, args, kwargs)

    def beside(self, x: Tensor) -> Tensor | None:
        """What would stand in the place of `x` without the steps and squashes that made it, where that is known."""
        kept = self.soft.get(id(x))
        return None if kept is None else kept[1]

    def _answer(self, func: Any, base: str, place: bool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x = args[0] if args and isinstance(args[0], Tensor) else None
        if self.cuts and x is not None and not place:
            x = self.rejoined(x, self.cuts)
            args = (x, *args[1:])
        if "out" in kwargs:
            return func(*args, **kwargs)
        if x is not None and x.requires_grad:
            if base == "detach":
                return x
            if base in LEAVES:
                self.cuts += [x] if x.ndim else []
                return func(x.detach(), *args[1:], **kwargs)
            if base in SQUASHES:
                return self._squash(x, func, base, place, args, kwargs)
            if (base in ("floor_divide", "__floordiv__") or kwargs.get("rounding_mode")) and not place:
                return through(func(x.detach(), *args[1:], **kwargs).detach(), x / args[1])
        soft = self._follow(func, base, place, args, kwargs) if base in FOLLOWED else None
        if soft is None:
            soft = self._surrogate(base, args)
        if place and x is not None:
            self.soft.pop(id(x), None)
        out = func(*args, **kwargs)
        if place and out is None:  # an assignment to some elements
            out = x
        if base in ("argmax", "max") and x is not None and x.requires_grad:
            self._won(x, out if isinstance(out, Tensor) else out[-1], args, kwargs)
        if not isinstance(out, Tensor):
            return out
        if soft is None and self.cuts and base in RETURNS:
            return self.rejoined(out, self.cuts)
        if soft is None or soft.shape != out.shape or not soft.requires_grad:
            return out
        if out.is_floating_point() and not out.requires_grad:
            joined = through(out.clone() if place else out, soft)
            out = out.copy_(joined) if place else joined
        self.soft[id(out)] = out, soft
        return out

    def _squash(self, x: Tensor, func: Any, base: str, place: bool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """The function with a slope everywhere; an in-place one writes what the other answers."""
        given = x.clone() if place else x
        soft = self.beside(x)
        if place:
            func = getattr(torch, base, None) or getattr(functional, base)
            kwargs = {key: value for key, value in kwargs.items() if key != "inplace"}
        # A step's own gradient is nothing, or an error.
        hard: Tensor = func(given.detach() if base in STEPS else given, *args[1:], **kwargs)
        if base in STEPS:
            out = through(hard, given)
        elif base in CLAMPS and _two_sided(base, args, kwargs):
            out = through(hard, given, (hard != given).to(given.dtype))
        elif base in CURVES:
            value = hard.detach()
            slope = 1 - value * value if base == "tanh" else value * (1 - value)
            out = through(hard, given, torch.where(slope < FLAT, 1 / (1 + given.detach() ** 2), 0.0))
        else:
            out = hard
        if place:
            out = x.copy_(out)
        if out.is_floating_point() and out.shape == given.shape:
            self.soft[id(out)] = out, given if soft is None else soft
        return out

    def _surrogate(self, base: str, args: tuple[Any, ...]) -> Tensor | None:
        """What stands for the result of a function that has no slope by itself, None where it has one or where none is known."""
        live = [t for t in args[:2] if isinstance(t, Tensor) and t.requires_grad]
        if live and base in ABOVE | BELOW:
            return args[0] - args[1] if base in ABOVE else args[1] - args[0]
        if live and live[0] is args[0] and base in CASTS | {"bucketize"}:
            # Floats keep their own gradient; whole numbers have none.
            return live[0]
        if base == "where" and len(args) == 3 and (known := self.beside(args[0])) is not None:
            flat = not any(isinstance(t, Tensor) and t.requires_grad for t in args[1:])
            return known * (args[1] - args[2]) if flat else None
        if base == "masked_fill" and len(args) == 3 and isinstance(args[1], Tensor) and (known := self.beside(args[1])) is not None:
            return None if args[0].requires_grad else known * (args[2] - args[0].clone())
        if base == "one_hot" or (base == "scatter" and len(args) > 2):
            index = args[0 if base == "one_hot" else 2]
            _, scores, axis = self.winners.get(id(index), (None, None, 0))
            return scores if scores is None or base == "scatter" else scores.movedim(axis, -1)
        return None

    def _won(self, x: Tensor, index: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
        if isinstance(axis, int):
            self.winners[id(index)] = index, x, axis

    def _follow(self, func: Any, base: str, place: bool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
        """The same function of what stands beside its arguments: None where one of them has a slope of its own and nothing beside it."""
        given = list(_tensors(args))
        if not any(id(t) in self.soft for t in given):
            return None
        first = self.beside(given[0])
        if base in PRODUCTS and sum(t.requires_grad or id(t) in self.soft for t in given) > 1:
            # A quotient's order is its numerator's; a product of two such has none.
            return first if base.startswith(("div", "true")) else None
        if any(t.requires_grad and id(t) not in self.soft for t in given):
            return None
        if base in CASTS | RISING:
            return first
        if base in LOGIC:
            known = [soft for t in given if (soft := self.beside(t)) is not None]
            return LOGIC[base](*known) if len(known) == len(given) else known[0]
        act = getattr(torch, base) if place else func
        try:
            made = act(*self._beside_each(args), **kwargs)
        except (RuntimeError, TypeError, AttributeError):
            return None
        return made if isinstance(made, Tensor) else None

    def _beside_each(self, args: Iterable[Any]) -> list[Any]:
        each: list[Any] = []
        for value in args:
            known = self.beside(value) if isinstance(value, Tensor) else None
            if isinstance(value, list | tuple):  # an index of several axes is a tuple, and a list is another
                within = self._beside_each(value)
                each.append(tuple(within) if isinstance(value, tuple) else within)
            else:
                each.append(value if known is None else known)
        return each

    def rejoined(self, out: Tensor, sources: list[Tensor]) -> Tensor:
        """`out` with the gradient of the latest of the `sources` that has its shape, or a whole part of its channels."""
        if out.requires_grad or not out.is_floating_point():
            return out
        for source in reversed(sources):
            spread = _spread(source, out)
            if spread is not None:
                return through(out, spread.to(out))
        return out


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hard: Tensor, soft: Tensor, slope: Tensor | None) -> Tensor:
        ctx.slope = slope
        return hard.view_as(hard)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, None]:
        return g, g if ctx.slope is None else g * ctx.slope, None


def through(hard: Tensor, soft: Tensor, slope: Tensor | None = None) -> Tensor:
    """The values of `hard`, with its own gradient and, times `slope`, that of `soft`; all of one shape."""
    with torch.enable_grad():
        out: Tensor = _Through.apply(hard, soft.to(hard.dtype), slope)
    return out


def _two_sided(base: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a clamp is a range rather than a ReLU or a ReLU6, which nets are built of."""
    low, high = (*args[1:3], *[None] * (3 - len(args)))[:2] if base not in ("clamp_min", "clamp_max") else (None, None)
    low, high = (kwargs.get(f"{end}_val", kwargs.get(end, given)) for end, given in (("min", low), ("max", high)))
    if base == "hardtanh":
        low, high = -1.0 if low is None else low, 1.0 if high is None else high
    numbers = not isinstance(low, Tensor) and not isinstance(high, Tensor)
    return low is not None and high is not None and not (numbers and (low, high) == (0, 6))


def _spread(source: Tensor, out: Tensor) -> Tensor | None:
    """`source` as often along the channels (axis 1) as `out` has them, in the order nearer to each row; None where shapes do not fit."""
    if source.shape == out.shape:
        return source
    if not 2 <= source.ndim == out.ndim or 0 in source.shape or out.shape[1] % source.shape[1]:
        return None
    if source.shape[:1] + source.shape[2:] != out.shape[:1] + out.shape[2:]:
        return None
    times = out.shape[1] // source.shape[1]
    first, second = source.repeat_interleave(times, dim=1), source.repeat(1, times, *[1] * (source.ndim - 2))
    values = out.detach().flatten(1)
    like = [((t.detach().to(out).flatten(1) - values) ** 2).sum(dim=1) for t in (first, second)]
    return torch.where((like[0] <= like[1]).reshape(-1, *[1] * (out.ndim - 1)), first, second)


def _tensors(values: Iterable[Any]) -> Iterable[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
