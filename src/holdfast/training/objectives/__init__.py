"""What nets are trained to lower: one short file per method."""

from holdfast.training.objectives.adversarial import fgsm, nfgsm, pgd
from holdfast.training.objectives.standard import standard
from holdfast.training.objectives.trades import trades

__all__ = ["fgsm", "nfgsm", "pgd", "standard", "trades"]
