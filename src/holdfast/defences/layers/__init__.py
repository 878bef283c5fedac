"""Layers that are put into nets to make them hold."""

from torch import nn

from holdfast.defences.layers.blur import Blur, Depthwise, filter_penalty, variation_penalty
from holdfast.defences.layers.denoise import OPERATIONS, Denoise
from holdfast.defences.layers.denoising_nets import DENOISING_NETS
from holdfast.defences.layers.noise import Ensemble, Noise, self_ensemble
from holdfast.defences.layers.placement import place
from holdfast.defences.layers.resize_pad import ResizePad
from holdfast.defences.layers.thermometer import Thermometer

LAYERS: dict[str, type[nn.Module]] = {kind.__name__: kind for kind in (Blur, Denoise, Depthwise, Ensemble, Noise, ResizePad, Thermometer)}
"""The layers by name."""

__all__ = [
    "DENOISING_NETS", "LAYERS", "OPERATIONS", "Blur", "Denoise", "Depthwise", "Ensemble", "Noise", "ResizePad", "Thermometer",
    "filter_penalty", "place", "self_ensemble", "variation_penalty",
]  # fmt: skip
