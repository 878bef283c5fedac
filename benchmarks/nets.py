"""Small nets that benchmarks are made on and the catalogue does not have."""

from __future__ import annotations

from torch import Tensor, nn

from holdfast.models import preact_resnet18


def strided(channels: int, classes: int) -> nn.Module:
    """Three convolutions with stride 2 and batch norm, then two linear layers: `[n, channels, h, w]`, 28×28 or 32×32."""
    layers: list[nn.Module] = []
    for inside, outside in ((channels, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(inside, outside, 3, stride=2, padding=1), nn.BatchNorm2d(outside), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 16, 256), nn.ReLU(), nn.Linear(256, classes))


def digits_net() -> nn.Module:
    """Four layers for digits `[n, 1, 28, 28]`: two 4×4 convolutions with stride 2, two linear ones, without norms."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 4, stride=2, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 4, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(64 * 49, 200), nn.ReLU(), nn.Linear(200, 10),
    )  # fmt: skip


def signs_net() -> nn.Module:
    """Four layers for traffic signs `[n, 3, 32, 32]`: three convolutions with stride 2 and batch norm, a linear one."""
    layers: list[nn.Module] = []
    for inside, outside, side in ((3, 32, 5), (32, 64, 3), (64, 128, 3)):
        layers += [nn.Conv2d(inside, outside, side, stride=2, padding=side // 2), nn.BatchNorm2d(outside), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 16, 43))


def halved_preact(width: int = 24) -> nn.Module:
    """A PreAct-ResNet-18 whose stem halves the map: a quarter of the work, for processors."""
    net = preact_resnet18(width=width)
    net.conv1 = nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)
    return net


def group_norm_net() -> nn.Module:
    """Three convolutions with group norm."""
    layers: list[nn.Module] = []
    for inside, outside in ((3, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(inside, outside, 3, stride=2, padding=1), nn.GroupNorm(4, outside), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 16, 10))


def hooked_net() -> nn.Module:
    """Convolutions with batch norm whose answers a hook changes, as pruning and steering do."""
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 49, 10),
    )  # fmt: skip
    net[1].register_forward_hook(lambda module, given, answer: answer * 1.5 - 0.2)
    return net


class AttentionNet(nn.Module):
    """The rows of an image `[n, 3, 32, 32]` as 32 tokens of a transformer layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(96, 64)
        self.layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.embed(x.transpose(1, 2).flatten(2))).mean(dim=1))


class LstmNet(nn.Module):
    """The rows of an image `[n, 3, 32, 32]` read one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.LSTM(96, 64, batch_first=True), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x.transpose(1, 2).flatten(2))[0][:, -1])
