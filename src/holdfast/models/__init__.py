"""Models at the edge: `Classifier`, weights, and small architectures of our own."""

from holdfast.models.bottlenecks import resnet50, resnet101, resnet152, resnext101
from holdfast.models.classifier import Classifier
from holdfast.models.load import load_net, load_views
from holdfast.models.nets import lenet5, mlp
from holdfast.models.resnets import preact_resnet18, resnet20, wide_resnet

__all__ = [
    "Classifier", "lenet5", "load_net", "load_views", "mlp", "preact_resnet18", "resnet20", "resnet50", "resnet101", "resnet152",
    "resnext101", "wide_resnet",
]  # fmt: skip
