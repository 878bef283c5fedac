"""Claim: memory does not grow with the number of samples: what a run holds beyond its inputs and its memory-mapped results stays the same.

`evaluate` with two-step PGD of a small convolutional net on 10,000 and on 1,000 CIFAR-size uint8 images, each in a
process of its own. Anonymous memory (RssAnon, which leaves mapped files out) is sampled every 5 ms; the bytes of the
inputs are taken off. Given twice: in all, interpreter and libraries included, and the rise over what the process held
just before `evaluate`, which is the stricter number. The highest
moment differs by some per cent from run to run, so medians of five runs of each are compared.
Bar: the first with 10,000 images at most 1.1 × that with 1,000; the second is stated.
Command: scripts/bench memory
Runs on: cpu
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from common import Sheet, arguments, cifar10, span
from torch import nn

from holdfast import Classifier, Linf, evaluate
from holdfast.engine import Pieces


def status(key: str) -> int:
    """Bytes of a line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":"))


class Peak(threading.Thread):
    """The highest RssAnon seen, looked at every 5 ms until stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.highest, self.looks, self.over = status("RssAnon"), 0, threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            self.highest = max(self.highest, status("RssAnon"))
            self.looks += 1
            time.sleep(0.005)


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(2048, 10)
    ).eval()  # fmt: skip


def prepare(n: int, file: Path) -> None:
    """Store `n` tiled images with the net's own answers as labels, so that every one is attacked."""
    x, _ = cifar10(min(n, 1000))
    with torch.no_grad():
        y = small_net()(x.float() / 255).argmax(dim=1)
    times = -(-n // len(x))
    np.savez(file, x=np.tile(x.numpy(), (times, 1, 1, 1))[:n], y=np.tile(y.numpy(), times)[:n])


def child(file: Path) -> None:
    """Evaluate and print what was held. The inputs come ready: memory freed while making them would hide what comes after."""
    net = small_net()
    with np.load(file) as held:
        x, y = torch.from_numpy(held["x"]), torch.from_numpy(held["y"])
    inputs = x.nbytes + y.nbytes
    before = status("RssAnon")
    peak = Peak()
    peak.start()
    with tempfile.TemporaryDirectory(prefix="holdfast-memory-") as folder:
        result = evaluate(
            Classifier(net, 10), (x, y), Linf(2 / 255), attacks=["pgd(steps=2)"], out=Path(folder) / "run", pieces=Pieces(128)
        )
        robust = result.robust_accuracy
    peak.over.set()
    peak.join()
    held = {"inputs": inputs, "before": before, "peak": max(peak.highest, status("RssAnon")), "hwm": status("VmHWM"), "looks": peak.looks}
    print(json.dumps(held | {"robust": robust}))


def measure(n: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="holdfast-memory-") as folder:
        file = Path(folder) / "images.npz"
        prepare(n, file)
        done = subprocess.run([sys.executable, __file__, "--child", str(file)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]))
        return
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    sheet = Sheet(options.record)
    sizes = (200, 1000) if options.quick else (1000, 10_000)
    whole: dict[int, list[float]] = {n: [] for n in sizes}
    rise: dict[int, list[float]] = {n: [] for n in sizes}
    for _ in range(options.rounds):
        for n in sizes:
            found = measure(n)
            print(f"  {n}: " + ", ".join(f"{key} {value:,}" for key, value in found.items()))
            whole[n].append((found["peak"] - found["inputs"]) / 2**20)
            rise[n].append((found["peak"] - found["before"]) / 2**20)
    few, many = sizes
    ratio, steeper = (statistics.median(it[many]) / statistics.median(it[few]) for it in (whole, rise))
    words = f"{ratio:.3f} × with {few} images ({span(whole[few], 'MiB')})"
    sheet.row("memory: peak beyond inputs and mapped results", many, span(whole[many], "MiB"), words, "≤ 1.1", ratio <= 1.1)
    words = f"{steeper:.3f} × with {few} images ({span(rise[few], 'MiB')})"
    sheet.row("memory: its rise during evaluate", many, span(rise[many], "MiB"), words)
    sheet.close()


if __name__ == "__main__":
    main()
