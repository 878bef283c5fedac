"""Training: what is fitted to data."""

from holdfast.training import objectives
from holdfast.training.augment import Crop, Flip
from holdfast.training.objective import Objective
from holdfast.training.recipe import Recipe
from holdfast.training.trainer import Trained, train

__all__ = ["Crop", "Flip", "Objective", "Recipe", "Trained", "objectives", "train"]
