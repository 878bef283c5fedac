"""Claim: each study of the documents runs from end to end on real data within 45 minutes, and says of each trend whether it is seen.

`holdfast reproduce NAME` in full: on traffic signs, CIFAR-10 or MNIST. The rows give the verdict on each trend with its interval; the
pages, with the documents' figures beside ours, lie in `--out`. Intervals are over test samples, of one net each. A killed call goes on
there, and its minutes are then those of the last call alone, which are held to no bar.
Bar: ≤ 45 minutes each.
Command: scripts/bench reproductions -- --studies f3
Runs on: cpu
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from common import DATA, Sheet, arguments, cifar10, training_images

from holdfast.reproduce import STUDIES, Bench, reproduce

MINUTES = 45
ON = {
    "f1": "cifar10", "f2": "cifar10", "f3": "signs", "f4": "signs", "f8": "cifar10", "f9": "mnist", "f11": "mnist", "f12": "mnist",
}  # fmt: skip


def data(name: str, out: Path) -> str:
    """What `--data` says; CIFAR-10 is written as one file first."""
    if name != "cifar10":
        return f"npz:{DATA / {'signs': 'gtsrb/gtsrb32.npz', 'mnist': 'mnist/mnist.npz'}[name]}"
    file = out / "cifar10.npz"
    if not file.exists():
        out.mkdir(parents=True, exist_ok=True)
        x, (test_x, test_y) = (training_images(name, 50000) * 255).round().byte(), cifar10(2000)
        y = np.load(DATA / "cifar10" / "train_labels.npy")
        whole = {"x_train": x.permute(0, 2, 3, 1).numpy(), "x_test": test_x.permute(0, 2, 3, 1).numpy()}
        np.savez(file, **whole, y_train=y, y_test=test_y.numpy())
    return f"npz:{file}"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--studies", nargs="*", default=list(ON), choices=list(STUDIES))
    parser.add_argument("--on", choices=("cifar10", "mnist", "signs"), help="other data than the study's own")
    parser.add_argument("--out", type=Path, default=Path("runs/reproductions"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sheet = Sheet(options.record)
    for name in options.studies:
        on = options.on or ON[name]
        folder = options.out / f"{name}-{on}{'-quick' if options.quick else ''}"
        begun = folder.exists()
        found, told = reproduce(name, Bench(data(on, options.out), folder, fast=options.quick))
        minutes = told["seconds"] / 60
        verdicts = [trend.verdict for trend in found.trends]
        counts = ", ".join(f"{verdicts.count(one)} {one}" for one in ("confirmed", "refuted", "undecided") if one in verdicts)
        again = ", last call alone" if begun else ""
        spent = f"{minutes:.1f} min{again}"
        sheet.row(
            f"reproduce: {name} on {on}", len(verdicts), spent, counts, "" if begun else f"≤ {MINUTES} min", begun or minutes <= MINUTES
        )
        for trend in found.trends:
            sheet.row(f"reproduce: {name} on {on}: {trend.statement}", 1, trend.verdict, trend.evidence)
    sheet.close()


if __name__ == "__main__":
    main()
