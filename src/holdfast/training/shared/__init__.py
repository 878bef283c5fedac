"""One perturbation shared by many inputs: universal changes, patches, stickers. The perturbation is the model that is trained."""

from holdfast.training.shared.fit import Fitted, fit
from holdfast.training.shared.judge import Judged, judge
from holdfast.training.shared.keep import keep
from holdfast.training.shared.masks import Bars, Disc, Mask, Picture, Square
from holdfast.training.shared.patch import patch
from holdfast.training.shared.rp2 import rp2
from holdfast.training.shared.sentence import Shared
from holdfast.training.shared.short import SHARED, parse_shared
from holdfast.training.shared.universal import universal, universal_gradient

__all__ = [
    "SHARED",
    "Bars",
    "Disc",
    "Fitted",
    "Judged",
    "Mask",
    "Picture",
    "Shared",
    "Square",
    "fit",
    "judge",
    "keep",
    "parse_shared",
    "patch",
    "rp2",
    "universal",
    "universal_gradient",
]
