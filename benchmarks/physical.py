"""Claim: what plain PGD finds is largely undone by print, photograph and crop, and what climbs the mean over views (EOT) is not.

Kurakin et al.'s destruction rate (2017, eq. 1), by the views of `physical()`: of the images that are classified right and that the
attack's last point fools as a file, the share that a view brings back to the right class, over 20 views that no search has seen.
PGD in L∞ with the same steps on the plain net, and on the net behind its views with as many draws a gradient as --draws says: the
MNIST LeNet-5 at 0.2, the CIFAR-10 ResNet-20 at 8/255, and the traffic sign net of the references at 8/255 on photographs of stop signs
(frames of the German benchmark at native size, and 20 American photographs, brought to 32 × 32).
Bar: EOT's destruction rate is at most half of plain PGD's, and its examples fool more often through the views.
Command: scripts/bench physical
Runs on: cpu
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from common import DATA, HERE, Case, Sheet, arguments, case
from nets import strided
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from holdfast import Classifier
from holdfast.attacks import pgd
from holdfast.core.draw import Draw, row_key
from holdfast.engine import perturb
from holdfast.parts.views import View, physical

STOP = 14
CASES = {"mnist_lenet5_clean": 0.2, "cifar10_resnet20": 8 / 255, "gtsrb_stop_signs": 8 / 255}


def stop_signs(n: int) -> Case:
    """The first `n` of the native frames, spread over the tracks, and up to 20 photographs, with the net that was trained on such signs."""
    net = strided(3, 43)
    net.load_state_dict(load_file(str(HERE / "references" / "gtsrb_strided_linf.safetensors")))
    files = sorted((DATA / "gtsrb" / "stop_native").glob("*.png"))
    with np.load(DATA / "stop_signs" / "stop_photos_256.npz") as held:
        photographs = [Image.fromarray(image) for image in held["x"]]
    frames = [image for image in (Image.open(file).convert("RGB") for file in files) if red(image)]
    some = frames[:: max(1, len(frames) // n)][:n] + photographs[:n]
    small = [np.asarray(image.resize((32, 32), Image.Resampling.LANCZOS)) for image in some]
    x = torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 255
    return Case("gtsrb_stop_signs", net.eval(), Classifier(net.eval(), 43), x, torch.full((len(x),), STOP), 8 / 255)


def red(image: Image.Image) -> bool:
    """Whether the middle of a frame is a stop sign's: the channels of some were turned round on their way into the collection."""
    wide, high = image.size
    red, green, _ = np.asarray(image.crop((wide // 4, high // 4, 3 * wide // 4, 3 * high // 4))).mean(axis=(0, 1))
    return bool(red >= 0.9 * green)


@torch.no_grad()
def wrong(model: Classifier, views: View, x: Tensor, y: Tensor, count: int) -> Tensor:
    """Which of `count` fresh views of each image are misclassified: `[count, n]`."""
    place = torch.arange(len(x))
    key = row_key(99, place, place)
    seen = model.viewed(views)
    return torch.stack([seen.drawn(x, Draw(key, torch.full_like(key, view))).logits.argmax(dim=1) != y for view in range(count)])


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    options = parser.parse_args()
    sheet, count = Sheet(options.record), 5 if options.quick else 20
    n, steps, draws = (8, 4, 2) if options.quick else (options.images, options.steps, options.draws)
    for name in options.cases:
        one = replace(stop_signs(n) if name == "gtsrb_stop_signs" else case(name, n), epsilon=CASES[name])
        views, (x, y) = physical(), (one.x, one.y)
        right = one.model(x).logits.argmax(dim=1) == y
        through = 1 - float(wrong(one.model, views, x, y, count).double().mean())
        sheet.row(f"physical: {name}, clean", len(x), f"{right.double().mean():.3f} as files, {through:.3f} through the views")
        fooling, undone = {}, {}
        for label, model, attack in (
            ("plain", one.model, pgd(one.epsilon, steps=steps)),
            ("EOT", one.model.viewed(views), pgd(one.epsilon, steps=steps, eot=draws)),
        ):
            adversarial = perturb(attack, model, x, y)
            fooled = right & (one.model(adversarial).logits.argmax(dim=1) != y)
            seen = wrong(one.model, views, adversarial, y, count)
            fooling[label] = float(seen[:, right].double().mean())
            undone[label] = 1 - float(seen[:, fooled].double().mean())
            value = f"fools {float(fooled[right].double().mean()):.3f} as files, {fooling[label]:.3f} through the views"
            met = label == "plain" or (undone["EOT"] <= undone["plain"] / 2 and fooling["EOT"] > fooling["plain"])
            bar = "" if label == "plain" else "half of plain's"
            sheet.row(f"physical: {name}, {label} {attack}", int(right.sum()), value, f"destruction rate {undone[label]:.3f}", bar, met)
    sheet.close()


if __name__ == "__main__":
    main()
