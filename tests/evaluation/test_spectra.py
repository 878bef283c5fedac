"""Spectra against closed forms and a literal transform, and layers watched without a trace."""

from __future__ import annotations

import cmath
import copy
import math

import pytest
import torch
from torch import Tensor, nn

from holdfast import Classifier, ConfigError, InputError, ModelError, spectra
from holdfast.evaluation.spectra import PIECE, feature_maps


def plane(height: int = 8, width: int = 8, cycles: tuple[int, int] = (0, 0)) -> Tensor:
    """A cosine of so many cycles over height and width: `[1, 1, h, w]`."""
    down, across = torch.arange(height).double() / height, torch.arange(width).double() / width
    return torch.cos(2 * math.pi * (cycles[0] * down.unsqueeze(1) + cycles[1] * across))[None, None]


def blind() -> Classifier:
    """A model for inputs alone: it is never asked."""
    return Classifier(nn.Linear(1, 2).double().eval(), 2, (-10.0, 10.0))


def convolution(**options: bool) -> nn.Sequential:
    torch.manual_seed(0)
    return (
        nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(**options), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(3, 4))
        .double()
        .eval()
    )


def test_a_constant_lies_in_the_middle() -> None:
    found = spectra(blind(), torch.full((3, 1, 6, 5), 0.5).double(), torch.full((3, 1, 6, 5), 0.75).double())
    for values, size in ((found.clean, 0.5), (found.adversarial, 0.75), (found.change, 0.25)):
        expected = torch.zeros(1, 6, 5).double()
        expected[0, 3, 2] = math.log1p(size * 30)
        assert torch.allclose(values, expected, atol=1e-12)
    assert all(float(share) == 0 for share in found.high.values())


@pytest.mark.parametrize(("cycles", "high"), [((0, 1), 0.0), ((2, 0), 0.0), ((0, 3), 1.0), ((2, 2), 1.0), ((4, 0), 1.0)])
def test_a_wave_lies_at_its_frequency(cycles: tuple[int, int], high: float) -> None:
    found = spectra(blind(), torch.zeros(1, 1, 8, 8).double(), plane(cycles=cycles))
    peaks = (found.change[0] > 1e-6).nonzero().tolist()
    down, across = cycles
    expected = {((4 + sign * down) % 8, (4 + sign * across) % 8) for sign in (1, -1)}
    assert {tuple(peak) for peak in peaks} == expected
    assert float(found.change.max()) == pytest.approx(math.log1p(64 / len(expected)))
    assert float(found.high["change"]) == pytest.approx(high) and float(found.high["clean"]) == 0
    ring = int(found.profile(found.change)[0].argmax())
    assert float(found.frequency[ring]) == pytest.approx(math.hypot(*cycles) / 8, abs=0.5 / 8)


def test_against_the_transform_written_out() -> None:
    torch.manual_seed(1)
    x, x_adv = torch.randn(2, 2, 5, 4).double(), torch.randn(2, 2, 5, 4).double()
    found = spectra(blind(), x, x_adv)
    for name, maps in (("clean", x), ("adversarial", x_adv), ("change", x_adv - x)):
        for c in range(2):
            high = total = 0.0
            for u in range(5):
                for v in range(4):
                    magnitudes = []
                    for i in range(2):
                        turn = (
                            (float(maps[i, c, a, b]), -2j * math.pi * ((u - 2) * a / 5 + (v - 2) * b / 4))
                            for a in range(5)
                            for b in range(4)
                        )
                        magnitudes.append(abs(sum(value * cmath.exp(phase) for value, phase in turn)))
                    expected = sum(math.log1p(magnitude) for magnitude in magnitudes) / 2
                    assert float(getattr(found, name)[c, u, v]) == pytest.approx(expected)
                    energy = sum(magnitude**2 for magnitude in magnitudes)
                    high += energy if math.hypot((u - 2) / 5, (v - 2) / 4) > 0.25 else 0
                    total += energy if (u, v) != (2, 2) else 0
            assert float(found.high[name][c]) == pytest.approx(high / total)


@pytest.mark.parametrize("shape", [(8, 8), (7, 12), (1, 9), (1, 1)])
def test_the_profile_is_the_mean_over_rings(shape: tuple[int, int]) -> None:
    torch.manual_seed(2)
    found = spectra(blind(), torch.randn(1, 1, *shape).double(), torch.randn(1, 1, *shape).double())
    rings: dict[int, list[float]] = {}
    for u in range(shape[0]):
        for v in range(shape[1]):
            frequency = math.hypot((u - shape[0] // 2) / shape[0], (v - shape[1] // 2) / shape[1])
            rings.setdefault(round(frequency * max(shape)), []).append(float(found.clean[0, u, v]))
    profile = found.profile(found.clean)[0]
    assert profile.tolist() == pytest.approx([sum(rings[ring]) / len(rings[ring]) for ring in range(len(profile))])
    assert len(found.frequency) == len(profile) == max(rings) + 1


def test_pieces_change_nothing() -> None:
    torch.manual_seed(3)
    n = 2 * PIECE + 3
    x, x_adv = torch.rand(n, 2, 6, 6).double(), torch.rand(n, 2, 6, 6).double()
    model = Classifier(convolution(), 4)
    found = spectra(model, x, x_adv, "0")
    alone = [spectra(model, x[i : i + 1], x_adv[i : i + 1], "0") for i in range(n)]
    assert found.n == n
    assert torch.allclose(found.change, torch.stack([one.change for one in alone]).mean(0))


def test_a_layer_answers_what_it_answers() -> None:
    """Also where the next layer writes into its answer, and with the model's normalisation before it."""
    torch.manual_seed(4)
    x = torch.rand(3, 2, 6, 6).double()
    net = convolution(inplace=True)
    model = Classifier(net, 4, mean=(0.2, 0.4), std=0.5)
    expected = net[0]((x - torch.tensor([0.2, 0.4]).double().reshape(1, 2, 1, 1)) / 0.5).detach()
    assert torch.allclose(feature_maps(model, x, "0"), expected) and float(expected.min()) < 0
    assert torch.allclose(feature_maps(model, x, "1"), expected.relu())


def test_a_circular_convolution_multiplies_spectra() -> None:
    torch.manual_seed(5)
    layer = nn.Conv2d(1, 1, 8, padding="same", padding_mode="circular", bias=False)
    net = nn.Sequential(layer, nn.Flatten(), nn.Linear(64, 3)).double().eval()
    x, x_adv = torch.rand(1, 1, 8, 8).double(), torch.rand(1, 1, 8, 8).double()
    model = Classifier(net, 3)
    kernel = torch.fft.fftshift(torch.fft.fft2(layer.weight[0, 0].detach()).abs())
    inputs, maps = spectra(model, x, x_adv), spectra(model, x, x_adv, "0")
    # A correlation: the kernel's spectrum is mirrored.
    mirrored = kernel.flip(0, 1).roll((1, 1), (0, 1))
    assert torch.allclose(maps.change[0].expm1(), inputs.change[0].expm1() * mirrored)


def test_the_module_is_left_as_it_was_found() -> None:
    net = convolution()
    net[0].register_forward_hook(lambda module, args, out: None)
    before, hooks, modes = copy.deepcopy(net.state_dict()), dict(net[0]._forward_hooks), [module.training for module in net.modules()]
    model = Classifier(net, 4)
    x = torch.rand(2, 2, 6, 6).double()
    state = torch.random.get_rng_state()
    spectra(model, x, x, "0")
    with pytest.raises(ConfigError):
        spectra(model, x, x, "5")
    with pytest.raises(ModelError, match="refuses"):
        spectra(model, x[:, :1], x[:, :1], "0")
    assert dict(net[0]._forward_hooks) == hooks and not any(module._forward_hooks for module in list(net.modules())[2:])
    assert [module.training for module in net.modules()] == modes and all(p.grad is None for p in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_random_net_draws_alike_before_and_after() -> None:
    net = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(48, 4)).double()
    x = torch.rand(5, 2, 6, 6).double()
    found = spectra(Classifier(net, 4, stochastic=True), x, x, "1")
    assert float(found.change.max()) == 0 < float(found.clean.max())


def test_bytes_are_taken_as_the_model_takes_them() -> None:
    x = torch.randint(0, 256, (2, 2, 6, 6), dtype=torch.uint8)
    model = Classifier(convolution(), 4)
    assert torch.allclose(spectra(model, x, x, "0").clean, spectra(model, x.double() / 255, x.double() / 255, "0").clean)


class Twice(nn.Module):
    """A layer that is called twice, one that never is, and one that answers no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.same, self.idle, self.pair = nn.ReLU(), nn.ReLU(), nn.LSTM(4, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.pair(self.same(self.same(x) - 0.5).flatten(2))[0][:, -1]


def test_what_cannot_be_watched_is_one_line() -> None:
    x = torch.rand(2, 3, 2, 2)
    model = Classifier(Twice().eval(), 4)
    assert torch.equal(feature_maps(model, x, "same"), (x - 0.5).relu()), "the last call"
    mistakes = [
        ("smae", ConfigError, "layer 'smae' is unknown: did you mean same?"),
        ("zzz", ConfigError, "layer 'zzz' is unknown: there are same, idle, pair"),
        ("idle", ModelError, "layer 'idle' is never called"),
        ("pair", ConfigError, "layer 'pair' answers tuple, expected maps"),
    ]
    for layer, kind, words in mistakes:
        with pytest.raises(kind) as caught:
            spectra(model, x, x, layer)
        assert words in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"layer '5' answers \[2, 4\], expected maps"):
        spectra(Classifier(convolution(), 4), torch.rand(2, 2, 6, 6), torch.rand(2, 2, 6, 6), "5")
    with pytest.raises(ModelError, match=r"is a function, not an nn.Module"):
        spectra(Classifier(lambda x: x.flatten(1), 12), x, x, "same")
    for other in (x[:1], x.flatten(1), x[:0]):
        with pytest.raises(InputError, match="expected the same samples before and after"):
            spectra(model, x if len(other) else other, other)
