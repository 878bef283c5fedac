"""Claim: a run that is killed again and again loses nothing, ends in the same records bit for bit, and repeats little work.

`evaluate` (suite quick-1) of the adversarially trained LeNet-5 on MNIST in a process of its own; the same run again,
killed with SIGKILL at 20 moments and resumed each time. The moments are drawn (with a seed) over the rows that the unkilled run asked, plus
up to half a second, so that kills fall on asks, harvests and snapshots alike, however fast the machine is at the time.
Compared: every Parquet file and adversarial.npy. Work is counted inside the model, by a hook that adds the rows of each
ask to a memory-mapped file that outlives the kill.
Bar: all equal; rows asked in all attempts together at most 1.10 × those of the unkilled run.
Command: scripts/bench kill
Runs on: cpu
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from common import Sheet, arguments, case, span

from holdfast import Linf, evaluate
from holdfast.engine import Pieces


def child(out: Path, counter: Path, n: int) -> None:
    """One attempt; `counter` holds the rows asked so far."""
    asked = np.memmap(counter, dtype=np.int64, mode="r+", shape=(1,))
    one = case("mnist_lenet5_adv", n)

    def count(module: object, args: tuple) -> None:
        asked[0] += len(args[0])

    one.plain.register_forward_pre_hook(count)
    evaluate(one.model, (one.x, one.y), threat=Linf(0.3), suite="quick-1", out=out, seed=0, pieces=Pieces(128, "contiguous"))


class Run:
    """A run in `folder`: attempts at it, and the rows asked in all of them."""

    def __init__(self, folder: Path, n: int) -> None:
        self.folder, self.counter, self.n = folder, folder.with_suffix(".count"), n
        np.memmap(self.counter, dtype=np.int64, mode="w+", shape=(1,)).flush()

    @property
    def asked(self) -> int:
        return int(np.fromfile(self.counter, dtype=np.int64)[0])

    def attempt(self, rows: int | None, delay: float = 0.0) -> bool:
        """Run, and kill `delay` seconds after so many rows have been asked in all; whether it ended by itself."""
        process = subprocess.Popen([sys.executable, __file__, "--child", str(self.folder), str(self.counter), str(self.n)])
        while process.poll() is None and (rows is None or self.asked < rows):
            time.sleep(0.002)
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        if process.returncode not in (0, -signal.SIGKILL):
            sys.exit(f"the child failed with status {process.returncode}")
        return process.returncode == 0


def differences(one: Path, other: Path) -> list[str]:
    """What differs between two finished runs: records (names of columns), examples."""
    found = []
    part = "shard-0-of-1"
    files = sorted(file.name for file in (one / part).glob("*.parquet"))
    if files != sorted(file.name for file in (other / part).glob("*.parquet")):
        return ["another set of files"]
    for name in files:
        if (one / part / name).read_bytes() != (other / part / name).read_bytes():
            a, b = pl.read_parquet(one / part / name), pl.read_parquet(other / part / name)
            found += [f"{name}: {column}" for column in a.columns if not a[column].equals(b[column], null_equal=True)] or [f"{name}: bytes"]
    if (one / part / "adversarial.npy").read_bytes() != (other / part / "adversarial.npy").read_bytes():
        found.append("adversarial.npy")
    return found


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
        return
    parser = arguments(__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=1000)
    options = parser.parse_args()
    sheet = Sheet(options.record)
    n = 100 if options.quick else options.images
    with tempfile.TemporaryDirectory(prefix="holdfast-kill-") as folder:
        whole, killed = Run(Path(folder) / "whole", n), Run(Path(folder) / "killed", n)
        begin = time.monotonic()
        whole.attempt(None)
        seconds = time.monotonic() - begin
        draw = random.Random(options.seed)
        kills = 0
        for moment in sorted(draw.uniform(0, whole.asked) for _ in range(options.kills)):
            if killed.attempt(int(moment), draw.uniform(0, 0.5)):
                break
            kills += 1
        else:
            killed.attempt(None)
        unlike = differences(whole.folder, killed.folder)
        rows, again = whole.asked, killed.asked
    print(f"  unkilled {seconds:.1f} s and {rows} rows asked; {kills} kills")
    ratio = again / rows
    same = "all records and examples equal" if not unlike else "different: " + ", ".join(unlike)
    sheet.row(f"kill: records after {kills} kills", n, span([seconds]), same, "bit for bit", not unlike and kills == options.kills)
    sheet.row("kill: rows asked with the kills", n, f"{again} rows", f"{ratio:.4f} × unkilled", "≤ 1.10", ratio <= 1.10)
    if seconds < 60 and not options.quick:
        print("  note: the unkilled run took less than 60 s; give more --images")
    sheet.close()


if __name__ == "__main__":
    main()
