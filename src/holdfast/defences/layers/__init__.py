"""Layers that are put into nets to make them hold."""

from holdfast.defences.layers.blur import Blur, Depthwise, filter_penalty, variation_penalty
from holdfast.defences.layers.denoise import OPERATIONS, Denoise
from holdfast.defences.layers.placement import place

__all__ = ["OPERATIONS", "Blur", "Denoise", "Depthwise", "filter_penalty", "place", "variation_penalty"]
