"""When memory runs out the piece is halved and nothing else changes; slots are not pieces."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from conformance.bench import flat, perceptron
from conformance.suite import assert_same
from holdfast import attacks
from holdfast.core.errors import ConfigError, ModelError
from holdfast.engine import Pieces


class Cramped(nn.Module):
    """A net that runs out of memory above so many rows; remembers the largest piece it took."""

    def __init__(self, rows: int, host: bool = False) -> None:
        super().__init__()
        self.net, self.rows, self.host, self.largest = perceptron(6), rows, host, 0

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.rows:
            raise RuntimeError("DefaultCPUAllocator: not enough memory") if self.host else torch.OutOfMemoryError("out of memory")
        self.largest = max(self.largest, len(x))
        return self.net(x)


@pytest.mark.parametrize("host", [False, True])
@pytest.mark.parametrize("attack", [attacks.pgd(0.08, steps=5, restarts=2), attacks.deepfool(steps=4)], ids=str)
def test_the_piece_is_halved_and_nothing_else_changes(attack: attacks.pgd, host: bool) -> None:
    case = flat()
    net = Cramped(16, host).eval()
    outcome = replace(case, net=net).run(attack, slots=64, rows=100)
    assert net.largest <= 16
    assert_same(case.run(attack, rows=16), outcome, why="memory ran out")


def test_memory_that_holds_one_row_is_enough() -> None:
    case = flat()
    assert_same(case.run(attacks.fgsm(0.1)), replace(case, net=Cramped(1).eval()).run(attacks.fgsm(0.1)), why="one row at a time")


def test_memory_that_holds_no_row_is_an_error() -> None:
    with pytest.raises(ModelError, match="one row does not fit"):
        replace(flat(), net=Cramped(0).eval()).run(attacks.fgsm(0.1))


def test_the_model_never_sees_more_than_a_piece_however_many_slots() -> None:
    case = flat()
    for slots in (8, 64, 10**6):
        net = Cramped(10**6).eval()
        replace(case, net=net).run(attacks.pgd(0.08, steps=3, restarts=4), slots=slots, rows=8)
        assert net.largest <= 8


def test_another_error_is_not_taken_for_a_lack_of_memory() -> None:
    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("device-side assert")

    with pytest.raises(ModelError, match="device-side assert"):
        replace(flat(), net=Faulty().eval()).run(attacks.fgsm(0.1))


def test_a_piece_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError):
        Pieces(0)
