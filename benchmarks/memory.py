"""Claim: memory does not grow with the number of samples: what a run holds beyond its inputs and its memory-mapped results stays the same.

`evaluate` with two-step PGD of a small convolutional net on 10,000 and on 1,000 CIFAR-size uint8 images, each in a
process of its own. Anonymous memory (RssAnon, which leaves mapped files out) is sampled every 5 ms; the bytes of the
inputs are taken off. Given twice: in all, interpreter and libraries included, and the rise over what the process held
just before `evaluate`, which is the stricter number.
Bar: the first with 10,000 images at most 1.1 × that with 1,000; the second is stated.
Command: scripts/bench memory
Runs on: cpu
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch
from common import Sheet, arguments, cifar10
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


def child(n: int) -> None:
    """Evaluate on `n` images and print what was held."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(2048, 10)
    ).eval()  # fmt: skip
    some, _ = cifar10(1000)
    with torch.no_grad():
        label = net(some.float() / 255).argmax(dim=1)
    x = torch.empty((n, *some.shape[1:]), dtype=torch.uint8)
    for start in range(0, n, len(some)):
        x[start : start + len(some)] = some[: n - start]
    y = label.repeat(-(-n // len(some)))[:n]
    del some
    inputs = x.nbytes + y.nbytes
    before = status("RssAnon")
    peak = Peak()
    peak.start()
    with tempfile.TemporaryDirectory(prefix="holdfast-memory-") as folder:
        # The labels are the net's own answers, so that every image is attacked.
        result = evaluate(
            Classifier(net, 10), (x, y), Linf(2 / 255), attacks=["pgd(steps=2)"], out=Path(folder) / "run", pieces=Pieces(128)
        )
        robust = result.robust_accuracy
    peak.over.set()
    peak.join()
    held = {"inputs": inputs, "before": before, "peak": max(peak.highest, status("RssAnon")), "hwm": status("VmHWM"), "looks": peak.looks}
    print(json.dumps(held | {"robust": robust}))


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(int(sys.argv[2]))
        return
    options = arguments(__doc__).parse_args()
    sheet = Sheet(options.record)
    sizes = (200, 1000) if options.quick else (1000, 10_000)
    found = {}
    for n in sizes:
        done = subprocess.run([sys.executable, __file__, "--child", str(n)], capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        found[n] = json.loads(done.stdout.splitlines()[-1])
        print(f"  {n}: " + ", ".join(f"{key} {value / 2**20:.1f} MiB" for key, value in found[n].items() if key not in ("looks", "robust")))
        print(f"  {n}: {found[n]['looks']} looks, robust accuracy {found[n]['robust']:.4f}")
    whole = [found[n]["peak"] - found[n]["inputs"] for n in sizes]
    rise = [found[n]["peak"] - found[n]["before"] for n in sizes]
    against = f"× with {sizes[0]} images"
    ratio = whole[1] / whole[0]
    words = f"{ratio:.3f} {against}"
    sheet.row("memory: peak beyond inputs and mapped results", sizes[1], f"{whole[1] / 2**20:.1f} MiB", words, "≤ 1.1", ratio <= 1.1)
    sheet.row("memory: its rise during evaluate", sizes[1], f"{rise[1] / 2**20:.1f} MiB", f"{rise[1] / rise[0]:.3f} {against}")
    sheet.close()


if __name__ == "__main__":
    main()
