"""Claim: every class has an image that a net is at least 99 % sure of and nobody recognises, by ascent and by both kinds of evolution.

Fooling images of Nguyen, Yosinski & Clune 2015 on the two LeNet-5 (plain, adversarially trained) and the CIFAR-10 ResNet-20: gradient
ascent from the mean test image, MAP-Elites with 200 children a generation over direct genomes and over pattern networks. For each: the
lowest confidence of the ten classes as the model itself says it of the stored image, the generation or step of the last class, what the
model was asked, seconds. A contact sheet of all images (rows: methods; columns: classes) goes to a temporary folder, or to --out.
Bar: at least 0.99 for every class.
Command: scripts/bench fooling
         scripts/bench --gpu fooling
         scripts/bench fooling -- --net mnist_lenet5_adv --out FOLDER
Runs on: cpu gpu
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from common import CIFAR_MEAN, CIFAR_STD, Case, Sheet, arguments, case, clock
from PIL import Image
from torch import Tensor

from holdfast import Classifier
from holdfast.synthesis import Synthesised, fooling_ascent, fooling_evolution

NETS = ("mnist_lenet5_clean", "mnist_lenet5_adv", "cifar10_resnet20")
BAR = 0.99


def contact_sheet(rows: list[Tensor], file: Path, zoom: int = 3) -> None:
    """Images `[k, c, h, w]` in [0, 1], one list a row, with a thin frame between them."""
    lines = []
    for images in rows:
        framed = torch.nn.functional.pad(images, (1, 1, 1, 1), value=0.5)
        lines.append(torch.cat(list(framed), dim=2))
    whole = (torch.cat(lines, dim=1).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).squeeze(-1).cpu().numpy()
    picture = Image.fromarray(whole)
    picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST).save(file)


def measure(sheet: Sheet, one: Case, model: Classifier, out: Path, quick: bool) -> None:
    shape, mean = tuple(one.x.shape[1:]), one.x.mean(dim=0)
    limit = 3 if quick else 2000
    methods = {
        "ascent": lambda: fooling_ascent(model, shape, start=mean, steps=limit if quick else 300),
        "direct": lambda: fooling_evolution(model, shape, encoding="direct", generations=limit, confidence=BAR),
        "CPPN": lambda: fooling_evolution(model, shape, encoding="cppn", generations=limit, confidence=BAR),
    }
    images = []
    for name, make in methods.items():
        made: list[Synthesised] = []
        seconds = clock(lambda make=make, made=made: made.append(make()))
        found = made[0]
        least = float(found.confidence.min())
        words = f"last class at {int(found.step.max())}; {found.forwards} forwards, {found.backwards} backwards; {seconds:.3g} s"
        value = f"{least:.5f} least, {float(found.confidence.median()):.5f} median confidence"
        sheet.row(f"fooling: {one.name}, {name}", len(found), value, words, f"≥ {BAR} each", least >= BAR)
        images.append(found.images)
    contact_sheet(images, out / f"{one.name}.png")
    print(f"pictures: {out / one.name}.png", flush=True)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--net", action="append", choices=NETS, help="only this net; may be repeated")
    parser.add_argument("--out", type=Path, help="where the contact sheets go")
    options = parser.parse_args()
    device = "cuda" if options.gpu else "cpu"
    sheet = Sheet(options.record, device)
    out = options.out or Path(tempfile.mkdtemp(prefix="holdfast-fooling-"))
    out.mkdir(parents=True, exist_ok=True)
    for name in options.net or NETS:
        one = case(name, 1000)
        one.plain.to(device)
        normal = {"mean": CIFAR_MEAN, "std": CIFAR_STD} if name.startswith("cifar") else {}
        net = one.model.net
        measure(sheet, one, Classifier(net, 10, **normal), out, options.quick)
    sheet.close()


if __name__ == "__main__":
    main()
