"""Spectra of inputs and of feature maps, before and after an attack: where in frequency a perturbation lies, and what layers make of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.core.errors import ConfigError, InputError, ModelError
from holdfast.core.expect import typed
from holdfast.engine.noise import by_place, model_noise
from holdfast.models import Classifier

PIECE = 16
"""Samples looked at together: memory depends on it, results do not."""


@dataclass(frozen=True)
class Spectra:
    """Spectra of `n` pairs of inputs, or of what a layer makes of them.

    `clean`, `adversarial`, `change` `[c, h, w]`: mean over the samples of log(1 + |F|), zero frequency in the centre at
    `[h // 2, w // 2]`; `high` the share of energy above a quarter of the sampling rate (zero frequency left out) in each of the three,
    each `[c]`, in [0, 1], 0 where there is none.
    """

    layer: str | None
    n: int
    clean: Tensor
    adversarial: Tensor
    change: Tensor
    high: dict[str, Tensor]

    @property
    def frequency(self) -> Tensor:
        """The rings of `profile` `[r]`, in cycles per pixel, 0 to √½."""
        rings = _rings(self.clean)
        return torch.arange(int(rings.max()) + 1, dtype=torch.float64) / max(self.clean.shape[1:])

    def profile(self, spectrum: Tensor) -> Tensor:
        """The mean of a spectrum `[c, h, w]` over each ring of equal frequency: `[c, r]`."""
        rings = _rings(spectrum).flatten()
        sums = torch.zeros(len(spectrum), int(rings.max()) + 1, dtype=spectrum.dtype).index_add(1, rings, spectrum.flatten(1))
        return sums / rings.bincount()


@typed
def spectra(model: Classifier, x: Tensor, x_adv: Tensor, layer: str | None = None) -> Spectra:
    """Spectra of inputs before and after an attack and of the change, or of the maps that a layer of the model answers to them.

    S_clean = mean_i log(1 + |F(t(x_i))|),  S_adversarial of x'_i,  S_change = mean_i log(1 + |F(t(x'_i) − t(x_i))|), F the discrete Fourier
    transform over height and width (not normalised), t the layer or, for `layer=None`, the identity.

    `x`, `x_adv` `[n, c, h, w]` in the model's range (or uint8), the same samples in the same order; `layer`: the name of a module, as
    `net.named_modules()` has it, that answers maps `[n, c, h, w]`. The module is left as it was found.

    Raises InputError for inputs that are no maps or do not pair up, ConfigError for an unknown layer or one that answers no maps,
    ModelError for a net that is no nn.Module or whose layer is never called.
    Source: Raju & Lipasti 2020, arXiv:1908.02256 (BlurNet): "log-shifted" spectra of RGB channels and of first-layer maps.
    Differs from the paper: mean over samples, not one sample; not scaled to a largest value of one, so that the three compare.

    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 3)).eval()
    >>> found = spectra(Classifier(net, 3), torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8), layer="0")
    >>> found.clean.shape, found.profile(found.change).shape
    (torch.Size([4, 6, 6]), torch.Size([4, 5]))
    """
    return measured(_pairs(model, x, x_adv, layer), layer)


def measured(pairs: Iterable[tuple[Tensor, Tensor]], layer: str | None = None) -> Spectra:
    """`Spectra` of maps `[n, c, h, w]` before and after, given piece by piece, at least one."""
    total: dict[str, Tensor] = {}
    energy: dict[str, Tensor] = {}
    n = 0
    for before, after in pairs:
        n += len(before)
        for name, maps in (("clean", before), ("adversarial", after), ("change", after - before)):
            f = torch.fft.fftshift(torch.fft.fft2(maps.double()), dim=(-2, -1)).abs()
            parts = torch.stack([(f.square() * band).sum(dim=(0, 2, 3)) for band in _bands(f)])
            total[name] = total.get(name, 0) + f.log1p().sum(dim=0)
            energy[name] = energy.get(name, 0) + parts
    mean = {name: sums / n for name, sums in total.items()}
    share = {name: _share(*parts) for name, parts in energy.items()}
    return Spectra(layer, n, mean["clean"], mean["adversarial"], mean["change"], share)


def feature_maps(model: Classifier, x: Tensor, layer: str | None) -> Tensor:
    """What a layer of the model answers to `x` `[n, ...]`: maps `[n, c, h, w]` on the host (`x` itself for None).

    A layer that is called more than once answers with its last. The module is left as it was found: nothing of its mode, weights or hooks
    is changed when this returns, or raises.

    Raises as `spectra` does.

    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 3)).eval()
    >>> feature_maps(Classifier(net, 3), torch.zeros(2, 1, 8, 8), "0").shape
    torch.Size([2, 4, 6, 6])
    """
    x = model.bounds.intake(x, model.dtype, model.device)
    if layer is None:
        return x.cpu()
    kept: list[Any] = []
    # A stochastic net draws the same numbers before and after the attack: what changes is then the attack's doing.
    with torch.no_grad(), model_noise(model, 0, 0), _watched(model, layer, kept):
        by_place(model, x)
    if not kept:
        raise ModelError(f"layer {layer!r} is never called when the net answers: name one that is, as print(net) lists them")
    maps = kept[-1]
    if not isinstance(maps, Tensor) or maps.ndim != 4:
        shape = list(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
        raise ConfigError(f"layer {layer!r} answers {shape}, expected maps [n, channels, height, width]: name a convolution, say")
    return maps.cpu()


@contextmanager
def _watched(model: Classifier, layer: str, kept: list[Any]) -> Iterator[None]:
    """Keep what the layer answers while this lasts."""

    def keep(module: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        # A copy: the next layer may write into it.
        kept[:] = [out.clone() if isinstance(out, Tensor) else out]

    hook = find_layer(model, layer).register_forward_hook(keep)
    try:
        yield
    finally:
        hook.remove()


def find_layer(model: Classifier, layer: str) -> nn.Module:
    """The module of that name; ConfigError with the nearest names otherwise."""
    if not isinstance(model.net, nn.Module):
        raise ModelError(f"the net is a {type(model.net).__name__}, not an nn.Module: it has no layers to name; leave layer out")
    names = dict(model.net.named_modules())
    names.pop("")
    if layer not in names:
        near = difflib.get_close_matches(layer, names, 3) or [name for name in names if layer in name][:3]
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join([*names][:12])}{', …' if len(names) > 12 else ''}"
        raise ConfigError(f"layer {layer!r} is unknown: {hint} (print(net) lists them all)")
    return names[layer]


def _pairs(model: Classifier, x: Tensor, x_adv: Tensor, layer: str | None) -> Iterator[tuple[Tensor, Tensor]]:
    if x.ndim != 4 or x.shape != x_adv.shape or not len(x):
        raise InputError(f"x is {list(x.shape)}, x_adv {list(x_adv.shape)}: expected the same samples before and after, [n, c, h, w]")
    for start in range(0, len(x), PIECE):
        rows = slice(start, start + PIECE)
        yield feature_maps(model, x[rows], layer), feature_maps(model, x_adv[rows], layer)


def _frequency(like: Tensor) -> Tensor:
    """The frequency at each place of a centred spectrum `[..., h, w]`, in cycles per pixel: `[h, w]`."""
    down, across = (torch.fft.fftshift(torch.fft.fftfreq(length, dtype=torch.float64)) for length in like.shape[-2:])
    return (down.square().unsqueeze(1) + across.square()).sqrt()


def _rings(like: Tensor) -> Tensor:
    """Which ring each place of a centred spectrum lies in, a step of the longer side apart: `[h, w]`."""
    return (_frequency(like) * max(like.shape[-2:])).round().long()


def _bands(like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Places above a quarter of the sampling rate, those up to it, and zero frequency."""
    frequency = _frequency(like)
    return frequency > 0.25, (frequency > 0) & (frequency <= 0.25), frequency == 0


def _share(high: Tensor, low: Tensor, none: Tensor) -> Tensor:
    """The share of the high band in what varies; 0 where nothing varies but for the transform's rounding."""
    varies = high + low
    return torch.where(varies > 1e-20 * none, high / varies.clamp_min(1e-300), 0.0)
