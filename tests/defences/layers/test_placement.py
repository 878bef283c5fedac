"""Layers go where names say, with the widths that a dry run finds; the net they are put into is left alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from holdfast.core.errors import ConfigError, ModelError
from holdfast.defences.layers import Blur, Denoise, Depthwise, place
from holdfast.models import lenet5, preact_resnet18

X = torch.rand(2, 3, 16, 16)


class Doubled(nn.Module):
    """A layer that says how wide it was made."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


class Twice(nn.Module):
    """A net that asks one layer under two names, and another not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = self.first
        self.idle = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu())


def chain() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 7, 3, padding=1), nn.Flatten(), nn.Linear(7 * 256, 4)
    ).eval()


@pytest.mark.parametrize(("where", "width"), [("after", 7), ("before", 5), ("instead", 5)])
def test_after_before_and_instead(where: str, width: int) -> None:
    net = chain()
    made = place(net, "2", Doubled, X, where)  # type: ignore[arg-type]
    (layer,) = [module for module in made.modules() if isinstance(module, Doubled)]
    assert layer.channels == width and not layer.training
    with torch.no_grad():
        y = net[1](net[0](X))
        y = {"after": lambda: 2 * net[2](y), "before": lambda: net[2](2 * y), "instead": lambda: 2 * y}[where]()
    if where == "instead":
        torch.testing.assert_close(made[:3](X), y)
    else:
        torch.testing.assert_close(made(X), net[4](net[3](y)))


def test_the_input_is_before_the_net() -> None:
    net = chain()
    made = place(net, "", lambda channels: Blur(3), X, "before")
    torch.testing.assert_close(made(X), net(Blur(3)(X)))
    assert place(net, "", Doubled, X)[-1].channels == 4


def test_a_chain_keeps_the_names_of_its_weights() -> None:
    net = preact_resnet18(width=4).eval()
    made = place(net, "layer?", Denoise, X)
    blocks = {name: module for name, module in made.named_modules() if isinstance(module, Denoise)}
    assert {name: block.conv.in_channels for name, block in blocks.items()} == {f"layer{k}.2": 2 ** (k + 1) for k in (1, 2, 3, 4)}
    assert net.state_dict().keys() <= made.state_dict().keys()
    assert torch.equal(made(X), net(X)), "the blocks begin as the identity"


def test_every_match_gets_a_layer_of_its_own_at_any_depth() -> None:
    net = preact_resnet18(width=4).eval()
    made = place(net, ["layer1", "layer1.?", "*.conv2"], Doubled, X)
    layers = [module for module in made.modules() if isinstance(module, Doubled)]
    assert len(layers) == 1 + 2 + 8 and len(set(map(id, layers))) == 11
    assert made(X).shape == (2, 10)


def test_the_net_is_left_as_it_was() -> None:
    net = preact_resnet18(width=4)
    net.layer1.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes, state = [module.training for module in net.modules()], torch.get_rng_state()
    made = place(net, ["conv1", "layer1.0.bn1"], Doubled, X)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert modes == [module.training for module in net.modules()] and torch.equal(state, torch.get_rng_state())
    assert not any(module._forward_hooks for whole in (net, made) for module in whole.modules())
    assert made.training and made.conv1[1].training and not made.layer1[0].bn1[1].training
    assert int(made.bn.num_batches_tracked) == 0, "the dry run moves no statistics"


def test_a_layer_has_the_float_type_of_the_net() -> None:
    made = place(lenet5().double(), "conv?", lambda channels: Depthwise(channels, 3), torch.rand(1, 1, 28, 28, dtype=torch.float64))
    assert [made.conv1[1].weight.dtype, len(made.conv2[1].weight)] == [torch.float64, 64]


def test_a_module_with_two_names_may_be_wrapped_under_one() -> None:
    net, x = Twice(), torch.rand(3, 4)
    made = place(net, "second", Doubled, x)
    torch.testing.assert_close(made(x), 2 * net(x))
    both = place(net, ["first", "second"], Doubled, x)
    torch.testing.assert_close(both(x), 2 * net.first((2 * net.first(x)).relu()))


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: place(preact_resnet18(4), "layr1", Doubled, X), ConfigError, "no module is named 'layr1': near it are layer1"),
        (lambda: place(lenet5(), ["conv1", "norm*"], Doubled, torch.rand(1, 1, 28, 28)), ConfigError, "'norm\\*': near it are"),
        (lambda: place(chain(), "2", Doubled, X, "behind"), ConfigError, "where='behind'"),  # type: ignore[arg-type]
        (lambda: place(Twice(), "idle", Doubled, torch.rand(1, 4)), ModelError, "'idle' is not asked"),
        (lambda: place(nn.Sequential(nn.LSTM(4, 4)), "0", Doubled, torch.rand(2, 3, 4)), ModelError, "would see tuple"),
    ],
)
def test_what_cannot_be_placed(make: Callable[[], nn.Module], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said) as caught:
        make()
    assert "\n" not in str(caught.value)
