"""The promises that every synthesis keeps, one function each.

For a synthesis of your own, with `tests` on the path: `for promise in synthesis_suite.PROMISES: promise(make, shape)`, where
`make(model, setting)` returns a `Synthesised`; each raises AssertionError where the promise is broken.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from holdfast.engine import Pieces, Setting
from holdfast.models import Classifier
from holdfast.synthesis import Synthesised

from .bench import CLASSES, Counted, perceptron
from .suite import bits

Make = Callable[[Classifier, Setting], Synthesised]
Promise = Callable[[Make, tuple[int, ...]], None]
RANGE = (-1.0, 2.0)


def net(shape: tuple[int, ...]) -> nn.Module:
    """A small perceptron, less flat than it is drawn, so that high confidences exist."""

    class Steep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = perceptron(math.prod(shape))

        def forward(self, x: Tensor) -> Tensor:
            return 6 * self.body(x)

    return Steep().eval()


def model(shape: tuple[int, ...], inner: nn.Module | None = None) -> Classifier:
    return Classifier(net(shape) if inner is None else inner, CLASSES, bounds=RANGE)


def assert_same(one: Synthesised, other: Synthesised, why: str, but: tuple[str, ...] = ()) -> None:
    for name, tensor in one.flatten().items():
        assert name in but or torch.equal(bits(tensor), bits(other.flatten()[name])), f"{why}: {name} differs"


def pieces_do_not_matter(make: Make, shape: tuple[int, ...]) -> None:
    """However many rows the model is asked at once, the images are the same to the last bit."""
    reference = make(model(shape), Setting(seed=3, pieces=Pieces(64)))
    for rows in (1, 8, 24):
        assert_same(reference, make(model(shape), Setting(seed=3, pieces=Pieces(rows))), f"{rows} rows at once", but=("spent",))


def noise_is_keyed(make: Make, shape: tuple[int, ...]) -> None:
    """The global generator neither steers nor is moved; the same seed repeats, another seed gives other images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = make(model(shape), Setting(seed=3))
        assert torch.equal(before, torch.get_rng_state()), "the synthesis moved the global generator"
        torch.manual_seed(2)
        assert_same(first, make(model(shape), Setting(seed=3)), "another global seed")
        assert not torch.equal(first.images, make(model(shape), Setting(seed=4)).images), "another seed gives the same images"


def images_differ(make: Make, shape: tuple[int, ...]) -> None:
    """No two images are the same: each has noise of its own."""
    images = make(model(shape), Setting(seed=3)).images.flatten(1)
    same = (images.unsqueeze(1) == images).all(dim=2) & ~torch.eye(len(images), dtype=torch.bool)
    assert not bool(same.any()), f"images {same.nonzero()[0].tolist()} are the same"


def counts_are_honest(make: Make, shape: tuple[int, ...]) -> None:
    """The totals are what the model itself counted; no image was found later than all was asked."""
    counted = Counted(net(shape))
    made = make(model(shape, counted), Setting(seed=3))
    assert (made.forwards, made.backwards) == (counted.forwards, counted.backwards), "the totals are not what the model counted"
    assert bool((made.queries >= 1).all() and (made.queries <= made.forwards).all()), "queries of an image beyond all that was asked"


def claims_hold(make: Make, shape: tuple[int, ...]) -> None:
    """The plain net is as sure of each stored image as is claimed, and every image lies in the valid range."""
    made = make(model(shape), Setting(seed=3))
    assert made.images.shape == (len(made.target), *shape) and made.images.device.type == "cpu"
    with torch.no_grad():
        sure = net(shape)(made.images).double().softmax(dim=1).gather(1, made.target.unsqueeze(1)).squeeze(1)
    assert torch.allclose(sure, made.confidence, rtol=0, atol=1e-9), "the net is not as sure as is claimed"
    assert bool((made.images >= RANGE[0]).all() and (made.images <= RANGE[1]).all()), "an image leaves the valid range"
    assert bool((made.confidence[made.success] > 0.5).all()) and bool(made.success.any()), "nothing was reached"


def module_is_left_alone(make: Make, shape: tuple[int, ...]) -> None:
    """Modes, gradients, `requires_grad` and weights of the user's module are what they were."""
    inner = net(shape)
    first, last = next(iter(inner.parameters())), list(inner.parameters())[-1]
    first.grad = kept = torch.full_like(first, 0.25)
    last.requires_grad_(False)
    before = {name: value.clone() for name, value in inner.state_dict().items()}
    make(model(shape, inner), Setting(seed=3))
    assert first.grad is kept and bool((kept == 0.25).all()) and not last.requires_grad, "a gradient or a flag changed"
    assert all(p.grad is None for p in inner.parameters() if p is not first), "a gradient was left behind"
    assert not any(module.training for module in inner.modules()), "a mode changed"
    assert all(torch.equal(value, before[name]) for name, value in inner.state_dict().items()), "a weight changed"


PROMISES: tuple[Promise, ...] = (
    pieces_do_not_matter,
    noise_is_keyed,
    images_differ,
    counts_are_honest,
    claims_hold,
    module_is_left_alone,
)
