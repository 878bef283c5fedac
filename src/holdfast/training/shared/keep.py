"""What a fit leaves on disk: the perturbation as numbers and as a picture."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from holdfast.core.expect import typed
from holdfast.engine.snapshot import write_whole
from holdfast.training.shared.fit import Fitted


@typed
def keep(fitted: Fitted, folder: str | Path) -> Path:
    """Write `perturbation.npz` (`perturbation`, `method`, `history`) and, of one for images, `perturbation.png`; the path of the first.

    The picture stretches the perturbation's own smallest and largest value over black and white.

    Raises StoreError where the folder cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    p, file, content = fitted.perturbation.cpu(), folder / "perturbation.npz", io.BytesIO()
    np.savez(content, perturbation=p.numpy(), method=str(fitted.method), history=np.array(fitted.history))
    write_whole(file, content.getvalue())
    if p.ndim == 3 and len(p) in (1, 3):
        low, high = torch.aminmax(p)
        pixels = ((p - low) / (high - low).clamp_min(1e-12) * 255).round().to(torch.uint8).permute(1, 2, 0)
        picture = io.BytesIO()
        Image.fromarray(pixels.squeeze(2).numpy()).save(picture, "PNG")
        write_whole(folder / "perturbation.png", picture.getvalue())
    return file
