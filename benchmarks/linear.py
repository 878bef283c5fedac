"""Claim: linear models are fooled by arithmetic: 5 % → 88 % in ten dimensions, ever smaller nudges in more, and weights mixed into images.

1. The worked example of ten dimensions: the probability before, after a nudge of 0.5, and the smallest nudge that crosses one half.
2. Its growth: the same score of −3 in d dimensions with weights of ±1, the nudge of each value that makes 5 % into 88 %.
3. Softmax regression on the digits of scikit-learn and on CIFAR-10 (5000 images to train, 500 to test on): accuracy, the
   exact median distances in L∞, L2 and L1, the accuracy under a nudge, exact; seconds.
4. Weights mixed in: how much of a class's weights (largest value, in levels of 255) makes half of the test images that class. Pictures go
   to a temporary folder, or to --out: the weights of each class, an image, and the image with each class's weights mixed in.
5. Logits of the ResNet-20 along the sign of its gradient, from −16/255 to 16/255: how much of their course a straight line explains.
Bar: 0.0474 and 0.8808 in the example, to 1e-4; every distance confirmed by the model itself.
Command: scripts/bench linear
Runs on: cpu
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from common import DATA, Sheet, arguments, case, cifar10, clock
from fooling import contact_sheet
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from holdfast import L1, L2, Classifier, Linf, load_data
from holdfast.exact import linear_exact, mix_weights

EXAMPLE_X = (2.0, -1.0, 3.0, -2.0, 2.0, 2.0, 1.0, -4.0, 5.0, 1.0)
EXAMPLE_W = (-1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, 1.0, -1.0, 1.0)
ANY = float("inf")


def logistic(w: Tensor) -> nn.Linear:
    net = nn.Linear(len(w), 1, bias=False).requires_grad_(False)
    net.weight.copy_(w.unsqueeze(0))
    return net


def worked(sheet: Sheet) -> None:
    x, w = torch.tensor([EXAMPLE_X]), torch.tensor(EXAMPLE_W)
    net = logistic(w)
    found = linear_exact(net, x, torch.tensor([0]), Linf(ANY))
    before, after = (float(net(point).sigmoid()) for point in (x, x + 0.5 * found.perturbation.sign().float()))
    met = abs(before - 0.0474) < 1e-4 and abs(after - 0.8808) < 1e-4 and bool(found.success.all())
    words = f"score {float(net(x)):g}; one half at a nudge of {float(found.distance):.3g}"
    sheet.row("linear: worked example, nudge 0.5", 1, f"{before:.4f} → {after:.4f}", words, "0.0474 → 0.8808", met)


def growth(sheet: Sheet) -> None:
    for d in (10, 100, 784, 3072, 150528):
        generator = torch.Generator().manual_seed(d)
        w = torch.randint(0, 2, (d,), generator=generator).double() * 2 - 1
        x = torch.randn(1, d, generator=generator).double()
        x = x + (-3 - x @ w).unsqueeze(1) * w / d
        net = logistic(w).double()
        found = linear_exact(net, x, torch.tensor([0]), Linf(ANY))
        # The boundary is 3 of score away, 88 % another 2.
        nudge = float(found.distance) * 5 / 3
        after = float(net(x + nudge * found.perturbation.sign()).sigmoid())
        name = f"linear: 5 % to 88 % in {d} dimensions"
        sheet.row(name, 1, f"nudge {nudge:.3g}", f"{float(net(x).sigmoid()):.4f} → {after:.4f}", "", abs(after - 0.8808) < 1e-4)


def softmax_regression(x: Tensor, y: Tensor, decay: float) -> nn.Module:
    """Fitted to its end: the loss is convex."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 10))
    nn.init.zeros_(net[1].weight)
    nn.init.zeros_(net[1].bias)
    step = torch.optim.LBFGS(net.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        step.zero_grad()
        value = cross_entropy(net(x), y) + decay * net[1].weight.square().sum()
        value.backward()
        return value

    step.step(loss)
    return net.eval().requires_grad_(False)


def cifar10_train(strips: int) -> tuple[Tensor, Tensor]:
    """The first `strips` of 500 training images each, in [0, 1]."""
    files = sorted((DATA / "cifar10").glob("train_*.webp"))[:strips]
    x = np.concatenate([np.asarray(Image.open(file).convert("RGB")).reshape(-1, 32, 32, 3) for file in files])
    y = np.load(DATA / "cifar10" / "train_labels.npy")[: len(x)]
    return torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(y).long()


def images(sheet: Sheet, name: str, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], nudge: float, out: Path) -> None:
    x, y = test
    net = softmax_regression(*train, decay=1e-3)
    model, n = Classifier(net, 10), len(test[0])
    for threat in (Linf(ANY), L2(ANY), L1(ANY)):
        made = []
        seconds = clock(lambda threat=threat, made=made: made.append(linear_exact(model, x, y, threat)))
        found, norm = made[0], type(threat).__name__
        right = found.distance > 0
        accuracy = f"accuracy {float(right.double().mean()):.3f}"
        if norm == "Linf":
            accuracy += f", under a nudge of {nudge * 255:g}/255 exactly {found.robust_accuracy(nudge):.3f}"
        value = f"median distance {float(found.distance[right].median()):.4g}"
        sheet.row(
            f"linear: softmax on {name}, {norm}", n, value, f"{accuracy}; {seconds:.3g} s", "all confirmed", bool(found.success.all())
        )
    target = (model(x).logits.argmax(dim=1) + 1 + torch.arange(n) % 9) % 10
    chance = model(x).logits.softmax(dim=1).gather(1, target.unsqueeze(1)).median()
    levels = (1, 2, 4, 8, 16, 32, 64, 128, 255)
    shares, sure = [], []
    for level in levels:
        answer = model(mix_weights(model, x, target, level / 255)).logits
        shares.append(float((answer.argmax(dim=1) == target).double().mean()))
        sure.append(float(answer.softmax(dim=1).gather(1, target.unsqueeze(1)).median()))
    half = next((str(level) for level, share in zip(levels, shares, strict=True) if share >= 0.5), "more than 255")
    course = ", ".join(f"{level}: {p:.3f}" for level, p in zip(levels, sure, strict=True))
    sheet.row(f"linear: weights mixed in, {name}", n, f"half at {half}/255", f"median chance {float(chance):.3f}; at {course}")
    w = net[1].weight.reshape(10, *x.shape[1:])
    templates = 0.5 + w / (2 * w.abs().flatten(1).amax(dim=1).reshape(-1, 1, 1, 1))
    rows, level = [templates], (8 if name == "CIFAR-10" else 64) / 255
    # Images of which the model is as sure as of most.
    order = model(x).logits.softmax(dim=1).amax(dim=1).argsort()
    for i in order[n // 2 - 1 : n // 2 + 2].tolist():
        ten = x[i : i + 1].expand(10, *x.shape[1:])
        mixed = mix_weights(model, ten, torch.arange(10), level)
        rows += [ten, mixed]
        said = model(mixed).logits.softmax(dim=1)
        print(
            f"  image {i} of class {int(y[i])}, {level * 255:g}/255 mixed in: each class's chance",
            [round(float(said[k, k]), 3) for k in range(10)],
        )
    contact_sheet(rows, out / f"weights-{name.lower()}.png", 4)


def straight(sheet: Sheet, out: Path, n: int) -> None:
    """R² of a straight line through each logit along ε · sign of the gradient; the curves of the first image as a picture."""
    one = case("cifar10_resnet20", n)
    x = one.x.clone().requires_grad_()
    cross_entropy(one.plain(x), one.y, reduction="sum").backward()
    way, shares = x.grad.sign(), torch.linspace(-16, 16, 65) / 255
    with torch.no_grad():
        logits = torch.stack([one.plain(one.x + share * way) for share in shares], dim=1).double()
    line = torch.stack([shares.double(), torch.ones(65, dtype=torch.float64)], dim=1)
    for reach in (2, 4, 16):
        some = shares.abs() <= reach / 255 + 1e-9
        part, base = logits[:, some], line[some]
        rest = part - base @ torch.linalg.lstsq(base.expand(n, *base.shape), part).solution
        r2 = 1 - rest.square().sum(dim=1) / (part - part.mean(dim=1, keepdim=True)).square().sum(dim=1)
        sheet.row(f"linear: ResNet-20 logits along the sign, ±{reach}/255", n, f"median R² of a straight line {float(r2.median()):.3f}")
    drawn, scale = torch.ones(3, 200, 65 * 4), logits[0]
    height = ((scale - scale.min()) / (scale.max() - scale.min()) * 197 + 1).round().long()
    for k in range(10):
        colour = torch.tensor([k % 3 / 2, k % 4 / 3, k % 5 / 4]) * 0.8
        for i in range(65):
            drawn[:, 198 - int(height[i, k]) : 200 - int(height[i, k]), 4 * i : 4 * i + 4] = colour.reshape(3, 1, 1)
    contact_sheet([drawn.unsqueeze(0)], out / "logits.png", 2)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--out", type=Path, help="where the pictures go")
    options = parser.parse_args()
    sheet = Sheet(options.record)
    out = options.out or Path(tempfile.mkdtemp(prefix="holdfast-linear-"))
    out.mkdir(parents=True, exist_ok=True)
    worked(sheet)
    growth(sheet)
    train, test = (load_data("digits", split=split) for split in ("train", "test"))
    images(sheet, "digits", (train.x, train.y), (test.x, test.y), 16 / 255, out)
    x, y = cifar10(50 if options.quick else 500)
    images(sheet, "CIFAR-10", cifar10_train(1 if options.quick else 10), (x.float() / 255, y), 2 / 255, out)
    straight(sheet, out, 4 if options.quick else 50)
    print(f"pictures: {out}", flush=True)
    sheet.close()


if __name__ == "__main__":
    main()
