"""What nets are trained to lower: one short file per method."""

from holdfast.training.objectives.adversarial import fgsm, nfgsm, pgd
from holdfast.training.objectives.cure import cure
from holdfast.training.objectives.double_backprop import double_backprop
from holdfast.training.objectives.llr import llr
from holdfast.training.objectives.standard import standard
from holdfast.training.objectives.trades import trades
from holdfast.training.objectives.vat import vat

__all__ = ["cure", "double_backprop", "fgsm", "llr", "nfgsm", "pgd", "standard", "trades", "vat"]
