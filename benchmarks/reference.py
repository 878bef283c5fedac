"""Run AutoAttack once on a net and keep what it found: python benchmarks/reference.py --autoattack DIR NAME ... (a plain script, no claim).

DIR holds the authors' code (github.com/fra31/auto-attack), which stays outside this repository. `standard`, batches of 250, seed 0,
the first 300 test images. benchmarks/references/NAME.json gets the verdict on each image, and for each stage the accuracy after it,
its seconds, and the forwards and backwards (rows) that it asked.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from common import CIFAR_MEAN, CIFAR_STD, DATA, HERE, Normalised, cifar10, hardware, mnist
from nets import halved_preact, strided
from safetensors.torch import load_file
from torch import Tensor, nn

from holdfast import L2, Classifier, Linf
from holdfast.core.types import Threat
from holdfast.models import lenet5, resnet20

REFERENCES = HERE / "references"
N = 300


def signs(n: int) -> tuple[Tensor, Tensor]:
    """`n` test images of traffic signs, spread over the classes, uint8 `[n, 3, 32, 32]`, and labels."""
    with np.load(DATA / "gtsrb" / "gtsrb32.npz") as file:
        chosen = np.linspace(0, len(file["x_test"]) - 1, n).round().astype(int)
        return torch.from_numpy(file["x_test"][chosen]).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(file["y_test"][chosen]).long()


@dataclass(frozen=True)
class Net:
    """A net that is judged: how it is built, where its weights are, its data and threat, its normalisation."""

    build: Callable[[], nn.Module]
    weights: Path
    data: Callable[[int], tuple[Tensor, Tensor]]
    threat: Threat
    classes: int = 10
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def net(self) -> nn.Module:
        """The module with its weights, in float32 and evaluation mode."""
        net = self.build()
        net.load_state_dict(load_file(str(self.weights)))
        return net.eval()

    def plain(self) -> nn.Module:
        """The module for tools that know of no normalisation."""
        net = self.net()
        return net if self.mean is None or self.std is None else Normalised(net, self.mean, self.std).eval()

    def model(self) -> Classifier:
        return Classifier(self.net(), self.classes, mean=self.mean, std=self.std)

    def images(self, n: int = N) -> tuple[Tensor, Tensor]:
        """Floats in [0, 1] `[n, c, h, w]`, and labels."""
        x, y = self.data(n)
        return x.float() / 255, y


MODELS = DATA / "models"
NETS = {
    "mnist_lenet5_adv": Net(lenet5, MODELS / "mnist_lenet5_adv.safetensors", mnist, Linf(0.3)),
    "mnist_lenet5_clean": Net(lenet5, MODELS / "mnist_lenet5_clean.safetensors", mnist, Linf(0.2)),
    "cifar10_resnet20": Net(resnet20, MODELS / "cifar10_resnet20.safetensors", cifar10, Linf(2 / 255), 10, CIFAR_MEAN, CIFAR_STD),
    "mnist_strided_l2": Net(lambda: strided(1, 10), REFERENCES / "mnist_strided_l2.safetensors", mnist, L2(1.5)),
    "gtsrb_strided_linf": Net(lambda: strided(3, 43), REFERENCES / "gtsrb_strided_linf.safetensors", signs, Linf(4 / 255), 43),
    "cifar10_preact24_linf": Net(halved_preact, REFERENCES / "cifar10_preact24_linf.safetensors", cifar10, Linf(8 / 255)),
}


class Counted(nn.Module):
    """A net that counts the rows it is asked forwards, and those that a gradient comes back through."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.forwards, self.backwards = net, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        out = self.net(x)
        self.forwards += len(x)
        if out.requires_grad:
            out.register_hook(self._back)
        return out

    def _back(self, g: Tensor) -> None:
        self.backwards += len(g)


def measure(name: str, n: int) -> dict:
    """AutoAttack's verdict on the first `n` images of a net."""
    from autoattack import AutoAttack

    case = NETS[name]
    x, y = case.images(n)
    net = Counted(case.plain())
    norm = "L2" if isinstance(case.threat, L2) else "Linf"
    attack = AutoAttack(net, norm=norm, eps=case.threat.radius, seed=0, version="standard", device="cpu", verbose=False)
    whole, standing, found = attack.attacks_to_run, torch.ones(n, dtype=torch.bool), x.clone()
    with torch.no_grad():
        standing = net.net(x).argmax(1) == y
    stages, clean = [], int(standing.sum())
    for stage in whole:
        attack.attacks_to_run = [stage]
        net.forwards = net.backwards = 0
        begin, spent = time.perf_counter(), time.process_time()
        left = standing.nonzero().squeeze(1)
        if len(left):
            # Each stage on what is left, as run_standard_evaluation does it.
            adversarial = attack.run_standard_evaluation(x[left], y[left], bs=250)
            with torch.no_grad():
                fooled = net.net(adversarial).argmax(1) != y[left]
            found[left[fooled]] = adversarial[fooled]
            standing[left[fooled]] = False
        stages.append({
            "stage": stage, "robust": int(standing.sum()) / n, "seconds": round(time.perf_counter() - begin, 2),
            "cpu_seconds": round(time.process_time() - spent, 2), "forwards": net.forwards, "backwards": net.backwards,
        })  # fmt: skip
        print(name, stages[-1], flush=True)
    sums = {key: sum(stage[key] for stage in stages) for key in ("seconds", "cpu_seconds", "forwards", "backwards")}
    return {
        "net": name, "tool": "AutoAttack standard, the authors' code, batches of 250, seed 0", "threat": f"{norm} {case.threat.radius:g}",
        "n": n, "clean_accuracy": clean / n, "robust_accuracy": int(standing.sum()) / n, **sums,
        "hardware": hardware(), "torch": torch.__version__, "threads": torch.get_num_threads(), "stages": stages,
        "survived": "".join(str(int(flag)) for flag in standing.tolist()),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--autoattack", required=True, help="the folder with the authors' package `autoattack`")
    parser.add_argument("--n", type=int, default=N)
    parser.add_argument("--out", type=Path, default=REFERENCES)
    parser.add_argument("names", nargs="*", default=list(NETS))
    options = parser.parse_args()
    sys.path.insert(0, options.autoattack)
    for name in options.names:
        text = json.dumps(measure(name, options.n), indent=1)
        (options.out / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
