"""`straight`: a stand-in of the user's model whose gradient goes straight through what has none, asked in search alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn

from holdfast.core.errors import ModelError
from holdfast.core.types import Model
from holdfast.engine.noise import by_place, kept_generators
from holdfast.engine.replica import Wrapper, copied
from holdfast.engine.surrogates import Surrogates, through


def straight(model: Model, x: Tensor) -> Model:
    """The same decisions as the model's, with a gradient where a step, a saturated curve, `detach`, `no_grad` or numpy hides it.

    Nothing is known of the net but what it asks of torch while it answers: see `Surrogates` for each operation's slope. A submodule that
    loses the gradient is taken for the identity where its answer has the shape of its input, or a multiple of its channels. Where the
    answer ends in a softmax, in rounding, clipping or a vote, the stand-in answers with what came before; where another class would win by
    that, the winner is put just above it. So each decision is the model's own, though its logits may not be.

    `x` `[n, ...]`: inputs to try it on, in the model's range. The user's module is left as it is; the stand-in works on a copy whose
    weights want no gradient (a callable that is no module is asked itself). Claims must be put to the model, not to this.

    Raises ModelError where the net cannot be copied, or fails as it is asked like this.
    Source: Athalye, Carlini & Wagner 2018, "Obfuscated gradients give a false sense of security", section 4.1.1.
    *Differs from* it: the identity stands in for single operations, found as the net runs, not for a defence that somebody points at.

    >>> from holdfast import Classifier
    >>> class Rounding(nn.Module):
    ...     def forward(self, x: Tensor) -> Tensor:
    ...         return x.flatten(1).round()
    >>> x = torch.rand(2, 1, 1, 3).requires_grad_()
    >>> answer = straight(Classifier(Rounding(), classes=3), x)(x).logits
    >>> torch.autograd.grad(answer.sum(), x)[0].flatten().tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    if not isinstance(model, Wrapper) or not callable(model.net):
        raise ModelError("the model holds no net to ask: search on the model itself")
    try:
        net = copied(model.net).requires_grad_(False) if isinstance(model.net, nn.Module) else model.net
        made = model.around(_Straight(net))
        tried = model.bounds.intake(x.detach(), model.dtype, model.device)
        with kept_generators(model.device), torch.inference_mode(False), torch.enable_grad():
            for _ in range(2):  # what one answer leaves behind is met by the next
                point = tried.clone().requires_grad_()
                total = by_place(made, point).logits.sum()
                if total.requires_grad:
                    torch.autograd.grad(total, point, allow_unused=True)
        if isinstance(net, nn.Module) and any(t.requires_grad for part in net.modules() for t in _held(part)):
            raise TypeError("it keeps what it computed, and so the graph of every answer")
    except Exception as error:  # this runs the user's own code, as nobody meant it to run: it can raise anything
        raise ModelError(
            f"the net has no straight-through stand-in ({type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}): "
            f"search on the model itself"
        ) from error
    return made


@final
class _Straight(nn.Module):
    """A net under `Surrogates`. `lifts`: its answers are not what the net answers, so that they must not be without a gradient either."""

    def __init__(self, net: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.lifts = net, False
        self.input: Tensor | None = None
        self.surrogates = Surrogates()
        for module in net.modules() if isinstance(net, nn.Module) else ():
            if module is not net:
                module.register_forward_pre_hook(self._enter)
                module.register_forward_hook(self._leave)

    def forward(self, x: Tensor) -> Tensor:
        if not (x.requires_grad and torch.is_grad_enabled()):
            if not self.lifts:
                return self.net(x)
            with torch.inference_mode(False), torch.enable_grad():
                return self.forward(x.detach().clone().requires_grad_()).detach()
        self.input = x.clone()
        self.surrogates = Surrogates()
        try:
            with self.surrogates:
                answer = self.net(self.input)
            soft = self.surrogates.beside(answer)
        finally:
            self.input, self.surrogates = None, Surrogates()
        if soft is None or soft.shape != answer.shape or answer.ndim != 2:
            return answer
        self.lifts = True
        return _lifted(answer.detach(), soft)

    def _enter(self, module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Inputs that somewhere lost their gradient have that of what looked like them."""
        if self.input is None or any(isinstance(t, Tensor) and t.requires_grad for t in given):
            return None
        sources = [self.input, *self.surrogates.cuts]
        return tuple(self.surrogates.rejoined(t, sources) if isinstance(t, Tensor) else t for t in given)

    def _leave(self, module: nn.Module, given: tuple[Any, ...], answer: Any) -> Any:
        if self.input is None or not isinstance(answer, Tensor):
            return answer
        sources = [t for t in given if isinstance(t, Tensor) and t.requires_grad]
        return self.surrogates.rejoined(answer, sources)


def _held(module: nn.Module) -> list[Tensor]:
    """The tensors that a module keeps, as buffers or as plain attributes."""
    return [value for value in (*module._buffers.values(), *vars(module).values()) if isinstance(value, Tensor)]


def _lifted(hard: Tensor, soft: Tensor) -> Tensor:
    """The scores `soft`, the winner of `hard` put above the others where it does not win by `soft` anyway; both `[n, classes]`."""
    values = soft.detach()
    winner = hard.argmax(dim=1, keepdim=True)
    best = values.amax(dim=1, keepdim=True)
    above = torch.where(values.argmax(dim=1, keepdim=True) == winner, best, best + 1e-3 * (1 + best.abs()))
    values = torch.where(hard.isnan().any(dim=1, keepdim=True), torch.nan, values.scatter(1, winner, above))
    return through(values, soft)
