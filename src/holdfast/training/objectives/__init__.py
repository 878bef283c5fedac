"""What nets are trained to lower: one short file per method."""

from holdfast.training.objectives.adversarial import fgsm, nfgsm, pgd
from holdfast.training.objectives.alp import alp
from holdfast.training.objectives.avmixup import avmixup
from holdfast.training.objectives.awp import awp
from holdfast.training.objectives.cure import cure
from holdfast.training.objectives.distillation import distillation
from holdfast.training.objectives.double_backprop import double_backprop
from holdfast.training.objectives.free import free
from holdfast.training.objectives.iat import iat
from holdfast.training.objectives.llr import llr
from holdfast.training.objectives.mart import mart
from holdfast.training.objectives.noise import noise
from holdfast.training.objectives.penalties import blurnet_filters, blurnet_variation
from holdfast.training.objectives.ramp import ramp
from holdfast.training.objectives.squeezing import logit_squeezing
from holdfast.training.objectives.stability import stability, stability_ranking
from holdfast.training.objectives.standard import standard
from holdfast.training.objectives.trades import trades
from holdfast.training.objectives.vat import vat

__all__ = [
    "alp",
    "avmixup",
    "awp",
    "blurnet_filters",
    "blurnet_variation",
    "cure",
    "distillation",
    "double_backprop",
    "fgsm",
    "free",
    "iat",
    "llr",
    "logit_squeezing",
    "mart",
    "nfgsm",
    "noise",
    "pgd",
    "ramp",
    "stability",
    "stability_ranking",
    "standard",
    "trades",
    "vat",
]
