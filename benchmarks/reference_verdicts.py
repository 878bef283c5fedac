"""AutoAttack's verdict on the reference models: python benchmarks/reference_verdicts.py --autoattack DIR [--n 100] [NAME ...] (no claim).

DIR holds the authors' code (github.com/fra31/auto-attack), which stays outside this repository. `standard`, one batch, seed 0, the
first `n` test images. references/verdicts/NAME.THREAT.json gets which images survive, and for each stage the survivors, the forwards and
backwards (rows) that the model was asked, and processor seconds. The six older references are in the list under their own names.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from common import HERE, Normalised
from reference_models import FOLDER, REFERENCES
from torch import Tensor, nn

from holdfast import Classifier
from holdfast.attacks.short import parse_threat
from holdfast.core.types import Threat
from reference import NETS, Counted

VERDICTS = HERE / "references" / "verdicts"
OLDER = {
    "mnist_lenet5_adv": ("l2:1.5", "l1:10", "l1:5", "linf:0.3"),
    "mnist_lenet5_clean": ("l1:8", "l2:1", "linf:0.1"),
    "gtsrb_strided_linf": ("l2:0.5", "l1:8"),
    "cifar10_preact24_linf": ("linf:8/255", "l2:0.5"),
    "mnist_strided_l2": ("l2:1.5", "linf:0.15"),
}
"""The threats under which the older references are judged here: norms and radii that they were not trained for, above all."""


@dataclass(frozen=True)
class Case:
    """A model under a threat, with its first images."""

    name: str
    text: str

    @property
    def threat(self) -> Threat:
        return parse_threat(self.text)

    @property
    def label(self) -> str:
        return f"{self.name}.{self.text.replace(':', '_').replace('/', '-')}"

    @property
    def file(self) -> Path:
        return VERDICTS / f"{self.label}.json"

    def model(self) -> Classifier:
        return NETS[self.name].model() if self.name in OLDER else REFERENCES[self.name].model(self.name)

    def images(self, n: int) -> tuple[Tensor, Tensor]:
        return NETS[self.name].images(n) if self.name in OLDER else REFERENCES[self.name].images(n)

    def verdict(self) -> dict:
        """What AutoAttack said."""
        return json.loads(self.file.read_text())


def cases(names: list[str] | None = None) -> Iterator[Case]:
    """Every model under each of its threats."""
    for name, texts in {**{name: one.threats for name, one in REFERENCES.items()}, **OLDER}.items():
        if not names or name in names:
            yield from (Case(name, text) for text in texts)


def autoattack(module: nn.Module, x: Tensor, y: Tensor, threat: Threat, watch: Callable[[dict], None] = print) -> dict:
    """AutoAttack `standard` on inputs in [0, 1]: each stage on what the earlier ones left, as its own evaluation does it."""
    from autoattack import AutoAttack

    net = Counted(module)
    norm = {"Linf": "Linf", "L2": "L2", "L1": "L1"}[threat.kind]
    attack = AutoAttack(net, norm=norm, eps=threat.radius, seed=0, version="standard", device="cpu", verbose=False)
    with torch.no_grad():
        standing = net.net(x).argmax(1) == y
    whole, stages, clean = attack.attacks_to_run, [], int(standing.sum())
    for stage in whole:
        attack.attacks_to_run = [stage]
        net.forwards = net.backwards = 0
        spent, left = time.process_time(), standing.nonzero().squeeze(1)
        if len(left):
            adversarial = attack.run_standard_evaluation(x[left], y[left], bs=len(left))
            with torch.no_grad():
                standing[left[net.net(adversarial).argmax(1) != y[left]]] = False
        stages.append({
            "stage": stage, "survivors": int(standing.sum()), "cpu_seconds": round(time.process_time() - spent, 1),
            "forwards": net.forwards, "backwards": net.backwards,
        })  # fmt: skip
        watch(stages[-1])
    sums = {key: round(sum(stage[key] for stage in stages), 1) for key in ("cpu_seconds", "forwards", "backwards")}
    survived = "".join(str(int(flag)) for flag in standing.tolist())
    return {"n": len(x), "clean": clean, "survivors": int(standing.sum()), **sums, "stages": stages, "survived": survived}


def plain(model: Classifier) -> nn.Module:
    """The net with its normalisation inside."""
    assert isinstance(model.net, nn.Module)
    return model.net if model.mean is None or model.std is None else Normalised(model.net, model.mean, model.std).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--autoattack", required=True, help="the folder with the authors' package `autoattack`")
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--part", default="0/1", help="i/k: every k-th case from the i-th")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    sys.path.insert(0, options.autoattack)
    torch.set_num_threads(1)
    VERDICTS.mkdir(parents=True, exist_ok=True)
    start, step = map(int, options.part.split("/"))
    for case in list(cases(options.names))[start::step]:
        while case.name not in OLDER and not (FOLDER / f"{case.name}.safetensors").exists():
            time.sleep(5)
        if case.file.exists() and case.verdict()["n"] >= options.n:
            continue
        x, y = case.images(options.n)
        head = {"model": case.name, "threat": case.text, "tool": "AutoAttack standard, the authors' code, one batch, seed 0"}
        found = head | autoattack(plain(case.model()), x, y, case.threat, lambda stage, case=case: print(case.label, stage, flush=True))
        case.file.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
