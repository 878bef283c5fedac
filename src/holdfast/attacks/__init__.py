"""The catalogue of per-row attacks: each a function returning an `Attack`."""

from holdfast.attacks.apgd import apgd, apgd_targeted
from holdfast.attacks.bim import bim, bim_a, bim_b, least_likely
from holdfast.attacks.carlini_wagner import carlini_wagner
from holdfast.attacks.carlini_wagner_l0 import carlini_wagner_l0
from holdfast.attacks.carlini_wagner_linf import carlini_wagner_linf
from holdfast.attacks.cosine import cosine
from holdfast.attacks.ddn import ddn
from holdfast.attacks.deepfool import deepfool
from holdfast.attacks.ead import ead
from holdfast.attacks.fab import fab, fab_targeted
from holdfast.attacks.fgsm import fgsm
from holdfast.attacks.fmn import fmn
from holdfast.attacks.jsma import jsma
from holdfast.attacks.lbfgs import lbfgs
from holdfast.attacks.mi_fgsm import mi_fgsm
from holdfast.attacks.occlusion import occlusion
from holdfast.attacks.pgd import pgd
from holdfast.attacks.random_points import random_points
from holdfast.attacks.recolor import recolor
from holdfast.attacks.sigma_zero import sigma_zero
from holdfast.attacks.square import square
from holdfast.attacks.stadv import stadv

__all__ = [
    "apgd",
    "apgd_targeted",
    "bim",
    "bim_a",
    "bim_b",
    "carlini_wagner",
    "carlini_wagner_l0",
    "carlini_wagner_linf",
    "cosine",
    "ddn",
    "deepfool",
    "ead",
    "fab",
    "fab_targeted",
    "fgsm",
    "fmn",
    "jsma",
    "lbfgs",
    "least_likely",
    "mi_fgsm",
    "occlusion",
    "pgd",
    "random_points",
    "recolor",
    "sigma_zero",
    "square",
    "stadv",
]
