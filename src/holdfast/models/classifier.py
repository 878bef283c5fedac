"""`Classifier`: the edge between a user's network and everything else; it owns range, normalisation, classes and device."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Sequence
from numbers import Real

import torch
from torch import Tensor, nn

from holdfast.core.draw import Draw
from holdfast.core.errors import ConfigError, ModelError
from holdfast.core.expect import typed
from holdfast.core.inside import drawing
from holdfast.core.types import Access, Bounds, Out
from holdfast.parts.views import View

Number = float | Sequence[float]


class Classifier:
    """A network with the range its inputs have and the normalisation it wants.

    logits = net((x − mean) / std), x in `bounds`.

    `net`: any callable from `[n, ...]` to logits `[n, classes]` (an `nn.Module` is best: its mode is checked, its weights hashed);
    `classes`: None asks the net once, when it is first needed; `bounds`: (low, high), each a number or one per channel, of the inputs
    *before* normalisation, where every radius is measured; `mean`, `std`: a number or one per channel, or None;
    `stochastic`: the net draws random numbers, so claims are verified by many asks; `access`: how much an attacker may see.

    The module is never changed: not its mode, not its `.grad`, not its weights or statistics, not the global generators.

    Raises ModelError for a module in training mode whose answers depend on it (batch norm, dropout).

    >>> model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval(), classes=3)
    >>> model(torch.rand(2, 1, 2, 2)).logits.shape
    torch.Size([2, 3])
    """

    @typed
    def __init__(
        self,
        net: Callable[[Tensor], Tensor],
        classes: int | None = None,
        bounds: tuple[Number, Number] = (0.0, 1.0),
        mean: Number | None = None,
        std: Number | None = None,
        device: str | torch.device | None = None,
        stochastic: bool = False,
        access: Access = Access.GRADIENT,
    ) -> None:
        low, high = (_numbers(side, "bounds") for side in bounds)
        if any(not a < b for a, b in _pairs(low, high)):
            raise ConfigError(f"bounds={bounds}: low must lie below high")
        self.net: Callable[[Tensor], Tensor] = net
        self.access, self.stochastic = access, stochastic
        self.views: View | None = None
        self.bounds = Bounds(low, high)
        self.mean = None if mean is None else _numbers(mean, "mean")
        self.std = None if std is None else _numbers(std, "std")
        if self.std is not None and any(not value > 0 for value in _tuple(self.std)):
            raise ConfigError(f"std={std}: every value must be positive")
        weight = next(_floating(net), None)
        try:
            wished = torch.device(device or (weight.device if weight is not None else "cpu"))
        except RuntimeError as error:
            raise ConfigError(f"device={device!r}: expected a device of torch, as cpu or cuda:0") from error
        self.device = weight.device if weight is not None else wished
        if wished.type != self.device.type or wished.index not in (None, self.device.index):
            raise ModelError(f"the net's weights are on {self.device}, not on {wished}: move it first, net.to(...)")
        self.dtype = weight.dtype if weight is not None else torch.get_default_dtype()
        self.check_mode()
        self._classes = classes
        if classes is not None and classes < 2:
            raise ConfigError(f"classes={classes}: a classifier has at least two")

    def check_mode(self) -> None:
        """Raise ModelError where a training mode, or batch statistics, would make the answers not the model's own."""
        if not isinstance(self.net, nn.Module):
            return
        for name, module in self.net.named_modules():
            kind = type(module).__name__
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or module.running_mean is None):
                why = "training mode" if module.training else "no running statistics"
                raise ModelError(
                    f"{kind} {name!r} normalises by the batch it is in ({why}), "
                    f"so a row's answer depends on its company: call net.eval() first, or track running statistics"
                )
            dropout = isinstance(module, nn.modules.dropout._DropoutNd | nn.RReLU)
            if dropout and module.training and not self.stochastic:
                raise ModelError(
                    f"{kind} {name!r} is in training mode, so answers are random: call net.eval() first, "
                    f"or give Classifier(stochastic=True) to attack the net as it draws"
                )

    @property
    def independent(self) -> bool:
        """True; raises ModelError where the module has been put into a training mode since."""
        self.check_mode()
        return True

    @property
    def classes(self) -> int:
        if self._classes is None:
            raise ConfigError("the number of classes is not known yet: give Classifier(classes=...) or ask the model once")
        return self._classes

    def around(self, net: nn.Module) -> Classifier:
        """The same range, normalisation, classes and precision of answers around another module."""
        other = copy.copy(self)
        other.net = net
        return other

    def declared(self, stochastic: bool) -> Classifier:
        """The same model, said to draw random numbers or not."""
        other = copy.copy(self)
        other.stochastic = stochastic
        return other

    @typed
    def viewed(self, views: View | None) -> Classifier:
        """The same model asked through `views`: what it sees of an input is its print, its photograph, its JPEG (None: the input itself).

        logits = net((T(x; θ) − mean) / std), θ drawn afresh at each ask, keyed by row where the engine asks. Where θ is random the model is
        stochastic: a claim must fool half of twenty views that the search never saw, and gradients are means over views (`eot`).

        Source: Athalye et al. 2018, "Synthesizing robust adversarial examples", section 2.

        >>> from holdfast.parts.views import Blurred, physical
        >>> model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval(), classes=3)
        >>> model.viewed(physical()).stochastic, model.viewed(Blurred(0.5)).stochastic
        (True, False)
        """
        other = copy.copy(self)
        other.views, other.stochastic = views, self.stochastic or (views is not None and views.random)
        return other

    def fit_classes(self, x: Tensor) -> None:
        """Learn the number of classes from the answer to one input, and check that the net takes such inputs at all."""
        with torch.no_grad():
            none = torch.zeros(len(x[:1]), dtype=torch.int64, device=self.device)
            self.drawn(self.bounds.intake(x[:1], self.dtype, self.device), Draw(none, none))

    def normalise(self, x: Tensor) -> Tensor:
        """(x − mean) / std, per channel (axis 1)."""
        if self.mean is not None:
            x = x - _broadcast(self.mean, x)
        if self.std is not None:
            x = x / _broadcast(self.std, x)
        return x

    def __call__(self, x: Tensor) -> Out:
        """The net's answer to `x` `[n, ...]` in `bounds`; what its views draw, they draw from torch's generator.

        Raises ModelError when the net refuses the shape or answers with other than `[n, classes]`.
        """
        if self.views is None:
            return self._answer(x)
        none = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        return self._answer(self._seen(x, Draw(torch.randint_like(none, 2**62) if self.views.random else none, none)))

    def drawn(self, x: Tensor, draw: Draw) -> Out:
        """The answer under the noise of `draw`, which is all that the views, and layers of keyed noise in the net, draw from."""
        with drawing(draw):
            return self._answer(self._seen(x, draw))

    def _seen(self, x: Tensor, draw: Draw) -> Tensor:
        # A part of its own, so that no rule's noise is a view's.
        return x if self.views is None else self.views(x, draw.apart(0), self.bounds)

    def _answer(self, x: Tensor) -> Out:
        try:
            logits = self.net(self.normalise(x))
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            if isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error):
                raise
            raise ModelError(
                f"the net refuses inputs of shape {list(x.shape)} ({str(error).strip().splitlines()[0][:200]}): "
                f"check the data's shape, the normalisation and the architecture"
            ) from error
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(x):
            shape = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ModelError(f"the net answers {shape} to {list(x.shape)}: expected a tensor of logits [{len(x)}, classes]")
        if self._classes is None:
            self._classes = logits.shape[1]
        if logits.shape[1] != self._classes:
            raise ModelError(f"the net answers {logits.shape[1]} classes, Classifier(classes={self._classes}) was promised another number")
        return Out(logits)

    def fingerprint(self) -> str:
        """sha256 of the weights and buffers, range, normalisation and views; of the name alone for a callable that is not a module."""
        whole = (self.bounds, self.mean, self.std, *([] if self.views is None else [self.views]))
        digest = hashlib.sha256(repr(whole).encode())
        if isinstance(self.net, nn.Module):
            digest.update(repr(self.net).encode())
            for name, tensor in sorted(self.net.state_dict().items()):
                if isinstance(tensor, Tensor):
                    raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
                    digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode() + raw.tobytes())
        else:
            digest.update(getattr(self.net, "__qualname__", type(self.net).__qualname__).encode())
        return digest.hexdigest()


def _floating(net: object) -> Iterator[Tensor]:
    parameters = [*net.parameters(), *net.buffers()] if isinstance(net, nn.Module) else []
    return iter([p for p in parameters if p.is_floating_point()])


def _tuple(value: float | tuple[float, ...]) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)


def _pairs(low: float | tuple[float, ...], high: float | tuple[float, ...]) -> list[tuple[float, float]]:
    lows, highs = _tuple(low), _tuple(high)
    n = max(len(lows), len(highs))
    if not {len(lows), len(highs)} <= {1, n}:
        raise ConfigError(f"bounds for {len(lows)} and for {len(highs)} channels: give one number, or one per channel")
    return list(zip(lows * (n // len(lows)), highs * (n // len(highs)), strict=True))


def _numbers(value: Number, name: str) -> float | tuple[float, ...]:
    """A number, or a tuple of numbers, one per channel."""
    try:
        return float(value) if isinstance(value, int | float | Real) else tuple(float(v) for v in value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}={value!r}: expected a number, or one for each channel") from error


def _broadcast(value: float | tuple[float, ...], x: Tensor) -> Tensor | float:
    """Numbers per channel, shaped for axis 1 of `x`."""
    if not isinstance(value, tuple):
        return value
    if x.ndim < 2 or len(value) not in (1, x.shape[1]):
        channels = x.shape[1] if x.ndim > 1 else 0
        raise ModelError(f"{len(value)} normalisation values for inputs with {channels} channels: give one number, or one per channel")
    return x.new_tensor(value).reshape(1, -1, *[1] * (x.ndim - 2))
