"""What a fit leaves on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from holdfast import Classifier
from holdfast.training.shared import fit, keep, universal_gradient


def test_numbers_and_a_picture(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).double().eval()
    fitted = fit(universal_gradient(0.1, passes=2), Classifier(net, 3), torch.rand(6, 3, 4, 4, dtype=torch.float64))
    with np.load(keep(fitted, tmp_path / "deep" / "er")) as stored:
        assert np.array_equal(stored["perturbation"], fitted.perturbation.numpy())
        assert str(stored["method"]) == "universal_gradient(0.1, passes=2)" and tuple(stored["history"]) == fitted.history
    pixels = np.asarray(Image.open(tmp_path / "deep" / "er" / "perturbation.png"))
    assert pixels.shape == (4, 4, 3) and pixels.min() == 0 and pixels.max() == 255
