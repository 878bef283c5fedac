"""F11: the error on test samples, as they are and under FGSM, while a net is trained plainly or on adversarial examples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from holdfast import attacks
from holdfast.core.attack import Attack
from holdfast.data import Dataset
from holdfast.engine.perturb import perturb
from holdfast.engine.snapshot import write_whole
from holdfast.evaluation.tables import Rate
from holdfast.models import Classifier
from holdfast.parts.threats import Linf
from holdfast.report.lines import Axis, Point, lines_chart
from holdfast.reproduce.bench import Bench, right, standing
from holdfast.reproduce.finding import Finding, Table, Trend, paired
from holdfast.reproduce.study import Reproduction, Study
from holdfast.training import objectives
from holdfast.training.lesson import calm
from holdfast.training.objective import Objective


@dataclass(frozen=True)
class Course:
    """Which test samples a net gets wrong after each epoch, in a file, so that a run that goes on has the epochs of before."""

    file: Path
    test: Dataset
    attack: Attack

    def note(self, model: Classifier, epoch: int) -> None:
        """Ask the net as it is after this epoch."""
        with calm(cast(nn.Module, model.net)):
            fooled = ~right(model, self.test, lambda x, y: perturb(self.attack, model, x, y))
            wrong = ~right(model, self.test)
        known = load_file(self.file) if self.file.exists() else {}
        write_whole(self.file, save(known | {f"clean.{epoch}": wrong, f"FGSM.{epoch}": fooled}))

    def read(self) -> dict[str, Tensor]:
        """For `clean` and `FGSM` samples what was wrong: bool `[epochs, n]`."""
        known = load_file(self.file)
        return {kind: torch.stack([known[f"{kind}.{i}"] for i in range(len(known) // 2)]) for kind in ("clean", "FGSM")}


def run(bench: Bench) -> Reproduction:
    """Two nets from the same weights; after each epoch the errors of both on the same test samples."""
    data, test = bench.samples("train", bench.of(1437, 20000)), bench.samples("test", bench.of(360, 1000))
    epochs, threat = bench.of(25, 15), Linf(bench.kind.radius)
    attack = attacks.fgsm(threat)
    lowered: dict[str, Objective] = {"plainly": objectives.standard(), "on FGSM": objectives.fgsm(threat, clean=0.5, still=1.0)}
    wrong, stood, missed, curves, rows = {}, {}, {}, {}, []
    for name, objective in lowered.items():
        mark = name.replace(" ", "-")
        course = Course(bench.out / f"course-{mark}.safetensors", test, attack)
        model = bench.trained(mark, objective, data, epochs * (len(data) // 64), course.note)
        wrong[name], stood[name] = course.read(), standing(bench.attacked(mark, model, test, threat))[1]
        for kind, table in wrong[name].items():
            rates = [Rate(int(epoch.sum()), len(test)) for epoch in table]
            curves[f"{name}, tested {kind}"] = [Point(i, max(rate.value, 0.5 / rate.n)) for i, rate in enumerate(rates, 1)]
            rows.append(Finding.of(f"trained {name}, tested {kind}", rates[-1]))
        missed[name] = ~right(model, bench.samples("test", bench.of(360, 10000)))
        rows.append(
            Finding.of(f"trained {name}, tested clean, {len(missed[name]):,} samples", Rate(int(missed[name].sum()), len(missed[name])))
        )
        rows.append(Finding.of(f"trained {name}, tested standard-1", Rate(int((~stood[name]).sum()), len(test))))
    words = (
        "Errors of the net trained plainly, and on FGSM, on the same test samples after each epoch. The vertical axis is logarithmic; "
        "no error at all is drawn as half a sample."
    )
    chart = lines_chart("course", "Test error while training", words, Axis("epochs"), Axis("test error", log=True), curves)
    plain, hard = ({kind: table.double() for kind, table in wrong[name].items()} for name in lowered)
    trends = (
        Trend.of(
            "Training on adversarial examples lowers the error on adversarial examples", paired(plain["FGSM"][-1] - hard["FGSM"][-1]),
            "error under FGSM after the last epoch, plain less adversarial training",
        ),
        Trend.of(
            "The error on adversarial examples falls while training on them", paired(hard["FGSM"][0] - hard["FGSM"][-1]),
            "error under FGSM, first less last epoch",
        ),
        Trend.of(
            "Adversarial training improves generalisation: a lower error on clean samples",
            paired(missed["plainly"].double() - missed["on FGSM"].double()),
            f"clean error after the last epoch, plain less adversarial training, on {len(missed['plainly']):,} samples",
        ),
        Trend.of(
            "Beyond the document: what withstands FGSM withstands standard-1 as well, but for one in ten",
            paired(0.1 - ((~stood["on FGSM"]).double() - hard["FGSM"][-1]), 1.1), "one in ten, less the rise of the error to standard-1",
        ),
    )  # fmt: skip
    scaled = (
        f"The slide is a picture, of which the document's text keeps the title alone: how long its nets were trained is not known. Here "
        f"{bench.kind.words}, {epochs} epochs on {len(data):,} samples of {bench.data}, and {len(test):,} test samples.",
        f"FGSM within L∞ {threat.radius:.3g}, without a random start; the loss is the mean of the clean and the FGSM loss (Goodfellow "
        f"et al. 2015, section 6).",
    )
    note = "Share of test samples that are wrong after the last epoch. The document has no figures of its own to set beside them."
    return Reproduction((Table("Test error", note, tuple(rows)),), (chart,), trends, scaled)


STUDY = Study(
    "f11",
    "Erdem, Erdem & Karacan, lecture on attacks on deep networks, slides “Training on adversarial examples” and “Defense techniques”",
    "A model trained on adversarial examples learns not to be fooled by them, and generalises better.",
    "MNIST or CIFAR-10",
    run,
)
