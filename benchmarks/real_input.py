"""Claim: the command line on published weights and real images gives the plain net's clean accuracy, and no peer undercuts its robust one.

`holdfast evaluate` (suite quick-1) of the adversarially trained LeNet-5 on the first 1000 MNIST test images, L∞ 0.3,
and of the CIFAR-10 ResNet-20 (normalisation by --mean and --std) on 2000 test images, L∞ 8/255.
Bar: clean accuracy equal to the plain module's on the same images; robust accuracy ≤ torchattacks' PGD-40 (LeNet-5), ≤
0.1 % (ResNet-20).
Command: scripts/bench real_input
Runs on: cpu
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import peers
import torch
from common import DATA, Sheet, arguments, case, predict, robust

COMMANDS = {
    "mnist_lenet5_adv": "--model lenet5 --data npz:{data}/mnist/mnist.npz --split test --threat linf:0.3 --suite quick-1",
    "cifar10_resnet20": "--model resnet20 --mean .485,.456,.406 --std .229,.224,.225 --data npz:{data}/cifar10/cifar10_test_2k.npz "
    "--threat linf:8/255",
}


def holdfast(name: str, n: int, out: Path) -> dict:
    """The JSON object that the command prints."""
    beside = Path(sys.executable).with_name("holdfast")
    found = str(beside) if beside.exists() else shutil.which("holdfast")
    start = [found] if found else [sys.executable, "-m", "holdfast.cli"]
    words = shlex.split(COMMANDS[name].replace("{data}", shlex.quote(str(DATA))))
    weights = DATA / "models" / f"{name}.safetensors"
    command = [*start, "evaluate", *words, "--weights", str(weights), "--limit", str(n), "--out", str(out), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    # 1 says that a check failed, with the result all the same.
    if done.returncode not in (0, 1) or not done.stdout:
        sys.exit(f"{shlex.join(command)}\nended with status {done.returncode}: {done.stderr}")
    if done.stderr:
        print(f"  said: {done.stderr.strip()}")
    return json.loads(done.stdout)


def main() -> None:
    parser = arguments(__doc__)
    options = parser.parse_args()
    sheet = Sheet(options.record)
    torch.manual_seed(0)
    for name in COMMANDS:
        n = 50 if options.quick else 1000 if name.startswith("mnist") else 2000
        one = case(name, n)
        with tempfile.TemporaryDirectory(prefix="holdfast-real-") as folder:
            result = holdfast(name, n, Path(folder) / "run")
        assert result["n"] == n and result["complete"], result
        clean = (predict(one.plain, one.x) == one.y).double().mean().item()
        label = f"real_input: {name}"
        value, words = f"clean accuracy {result['clean_accuracy']:.4f}", f"plain net {clean:.4f}"
        sheet.row(label, n, value, words, "equal", round(result["clean_accuracy"] * n) == round(clean * n))
        mine = result["robust_accuracy"]
        value = f"robust accuracy {mine:.4f} in {result['seconds']:.1f} s"
        if name == "cifar10_resnet20":
            sheet.row(label, n, value, "", "≤ 0.001", mine <= 0.001)
        else:
            attack = peers.pgd(one.plain, tuple(one.x.shape[1:]), one.epsilon, 2.5 * one.epsilon / 40, 40)["torchattacks"]
            its = robust(one.plain, one.x, one.y, attack(one.x, one.y, 500), one.epsilon)
            sheet.row(label, n, value, f"torchattacks PGD-40 {its:.4f}", "no higher", mine <= its)
        print("  checks: " + ", ".join(f"{check['name']} {check['status']}" for check in result["checks"]))
    sheet.close()


if __name__ == "__main__":
    main()
