"""Draws docs/attacks/pictures: what each method of the catalogue does. Run by `attack_pages.py`.

Attacks on single inputs are shown by four MNIST digits under a plainly trained LeNet where HOLDFAST_DATA (default ../shared/data) has them,
else by scikit-learn's scans under the demo's net; the rest by `other_pictures.py`. The call that made a picture is kept inside it. Long
searches are cut short for pictures, as the call says.
"""

from __future__ import annotations

import inspect
import io
import os
import tempfile
from functools import cache
from pathlib import Path

from other_pictures import OTHERS
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from holdfast import Budget, Classifier, Dataset, HoldfastError, evaluate, load_data
from holdfast.attacks.short import ENTRIES, THREATS, Entry
from holdfast.core.types import Threat
from holdfast.demo import demo_classifier
from holdfast.models import load_net
from holdfast.report import export

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "attacks" / "pictures"
RADII = {"linf": 0.2, "l2": 2.0, "l1": 20.0, "l0": 20.0, "flow": 1.0, "colour": 0.1, "occlusion": 8.0}
LIGHT = {"steps": 200, "iterations": 200, "rivals": 3}
SHOWN, TRIED, DEADLINE, LARGEST = 4, 24, 900.0, 30_000


def draw(name: str) -> str | None:
    """Run the method and keep a picture of what it found; None when that went well, else why there is none."""
    if name in OTHERS:
        return keep(name, *OTHERS[name]())
    entry = ENTRIES.get(name)
    if entry is None or entry.kind != "row":
        return "nothing here draws it"
    takes = inspect.signature(entry.make).parameters
    light = {key: most for key, most in LIGHT.items() if key in takes and (takes[key].default or 0) > most}
    model, data, words = scene("colour" in entry.threats[:1])
    for grow in (1.0, 1.5, 2.0, 2.5):
        try:
            made = entry.make(*threats(entry, grow), **light)
            with tempfile.TemporaryDirectory() as folder:
                result = evaluate(model, data, made.threat, attacks=[made], out=folder, budget=Budget(deadline=DEADLINE), replica=False)
                if export(result, data, folder, SHOWN, SHOWN, width=850).pictures < SHOWN:
                    continue
                with Image.open(Path(folder) / "sheet.png") as sheet:
                    return keep(name, sheet, f"`{made}` {words}")
        except (HoldfastError, TypeError) as error:
            return str(error)
    return f"it broke less than {SHOWN} of {TRIED}"


def threats(entry: Entry, grow: float) -> tuple[Threat | float, ...]:
    """The threat of a picture, where the method needs one: a radius that an eye can see, in the first norm of its own."""
    norm = next((norm for norm in entry.threats if norm in THREATS and norm in RADII), None)
    if entry.minimum_norm or norm is None:
        return ()
    radius = round(RADII[norm] * grow, 6)
    return (radius,) if norm == "linf" else (THREATS[norm](radius),)


def keep(name: str, sheet: Image.Image, words: str) -> None:
    """The sheet in few colours, with the words inside."""
    note, buffer = PngInfo(), io.BytesIO()
    note.add_itxt("Description", words)
    sheet.quantize(64).save(buffer, "PNG", optimize=True, pnginfo=note)
    if buffer.tell() > LARGEST:
        raise SystemExit(f"the picture of {name} has {buffer.tell()} bytes, more than {LARGEST}: show fewer samples")
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.png").write_bytes(buffer.getvalue())


@cache
def scene(colour: bool) -> tuple[Classifier, Dataset, str]:
    """Model, data, and what to call them: digits, or photographs for what is about colours."""
    shared = Path(os.environ.get("HOLDFAST_DATA") or ROOT.parent / "shared" / "data")
    weights, photographs = shared / "models" / "mnist_lenet5_clean.safetensors", shared / "models" / "cifar10_resnet20.safetensors"
    if colour and photographs.exists():
        data = load_data(f"npz:{shared / 'cifar10' / 'cifar10_test_2k.npz'}", limit=TRIED)
        net = Classifier(load_net("resnet20", photographs), 10, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
        return net, data, f"against a plainly trained ResNet-20: {SHOWN} of {TRIED} CIFAR-10 photographs"
    if weights.exists():
        data = load_data(f"npz:{shared / 'mnist' / 'mnist.npz'}", limit=TRIED)
        return Classifier(load_net("lenet5", weights), 10), data, f"against a plainly trained LeNet: {SHOWN} of {TRIED} MNIST digits"
    folder = Path(tempfile.mkdtemp())
    return demo_classifier(folder, print), load_data("digits", limit=TRIED), f"against the demo's net: {SHOWN} of {TRIED} scans"
