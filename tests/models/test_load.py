"""`load_net`: names, imports and weight files, good and bad; every error is one line that says what to do."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from holdfast.core.errors import ConfigError, HoldfastError, ModelError
from holdfast.models.load import load_net
from holdfast.models.weights import read_weights

SPEC = "mlp(4, 3, hidden=[5])"


@pytest.fixture
def state() -> dict[str, Tensor]:
    return {name: torch.rand_like(value) for name, value in load_net(SPEC).state_dict().items()}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory of the user's own, with modules in it; path and imports are put back afterwards."""
    known = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def refused(kind: type[HoldfastError], said: str, spec: str, weights: Path | None = None) -> None:
    with pytest.raises(kind, match=said) as caught:
        load_net(spec, weights)
    assert "\n" not in str(caught.value)


def same(net: nn.Module, state: dict[str, Tensor]) -> bool:
    held = net.state_dict()
    return held.keys() == state.keys() and all(torch.equal(held[name], state[name]) for name in state)


class TestNames:
    def test_arguments_are_literals(self) -> None:
        assert [tuple(p.shape) for p in load_net("mlp(4, classes=3, hidden=(7,))").parameters()] == [(7, 4), (7,), (3, 7), (3,)]

    def test_a_bare_name_takes_its_defaults(self) -> None:
        assert isinstance(load_net(" lenet5 "), nn.Sequential)

    @pytest.mark.parametrize(
        ("spec", "said"),
        [
            ("lenet", "'lenet' is unknown: did you mean lenet5.*mlp.*wide_resnet.*pkg.mod:callable"),
            ("a.b", "'a.b' is unknown"),
            ("", "cannot be read"),
            ("lenet5(", "cannot be read"),
            ("mlp", r"missing a required argument: 'features'; it is mlp\(features, classes, hidden=\(256, 256\)\)"),
            ("lenet5(widht=3)", "unexpected keyword argument 'widht'"),
            ("mlp(**{})", r"\*\* is not understood"),
            ("mlp(4, open('x'))", "not a literal"),
            ("mlp(4, -3)", "classes=-3"),
        ],
    )
    def test_what_names_no_network(self, spec: str, said: str) -> None:
        refused(ConfigError, said, spec)

    def test_arguments_are_never_executed(self, project: Path) -> None:
        refused(ConfigError, "not a literal", "mlp(4, __import__('pathlib').Path('ran').touch())")
        assert not (project / "ran").exists()


class TestImports:
    @pytest.fixture(autouse=True)
    def _own_modules(self, project: Path) -> None:
        (project / "my_nets.py").write_text(
            "from torch import nn\n"
            "def build(): return nn.Sequential(nn.Flatten(), nn.Linear(4, 3))\n"
            "def calm(): return build().eval()\n"
            "def wide(width): return nn.Linear(width, 3)\n"
            "def broken(): raise ValueError('no such layer\\nsecond line')\n"
            "ready = build()\n"
            "class Zoo:\n"
            "    net = staticmethod(build)\n"
            "number = 3\n"
        )
        (project / "needy.py").write_text("import a_package_that_is_nowhere")
        (project / "leaving.py").write_text("raise SystemExit(3)")

    @pytest.mark.parametrize(("spec", "training"), [("build", True), ("calm", False), ("ready", True), ("Zoo.net", True)])
    def test_a_net_of_the_user_keeps_its_mode(self, spec: str, training: bool) -> None:
        assert load_net(f"my_nets:{spec}").training is training

    @pytest.mark.parametrize(("spec", "training"), [("build", True), ("calm", False)])
    def test_and_keeps_it_with_weights(self, tmp_path: Path, spec: str, training: bool) -> None:
        weights = {"1.weight": torch.rand(3, 4), "1.bias": torch.rand(3)}
        safetensors.torch.save_file(weights, tmp_path / "w.safetensors")
        net = load_net(f"my_nets:{spec}", tmp_path / "w.safetensors")
        assert net.training is training
        assert same(net, weights)

    @pytest.mark.parametrize(
        ("kind", "spec", "said"),
        [
            (ConfigError, "my_nets:biuld", "has no 'biuld': did you mean build"),
            (ConfigError, "my_nets:wide", "missing a required argument: 'width'; give a function that takes none"),
            (ConfigError, "my_nets:number", "gives a int, expected a torch.nn.Module"),
            (ConfigError, "my_nets:", "expected pkg.mod:callable"),
            (ConfigError, "my_nets.py:build", "is a file, not a module: run from its folder and write my_nets:build"),
            (ConfigError, "nowhere.nets:build", "no module 'nowhere'"),
            (ConfigError, "needy:build", "imports a_package_that_is_nowhere, which is not installed"),
            (ModelError, "leaving:build", "SystemExit: 3"),
            (ModelError, "my_nets:broken", "ValueError: no such layer: mend it"),
        ],
    )
    def test_what_gives_no_network(self, kind: type[HoldfastError], spec: str, said: str) -> None:
        refused(kind, said, spec)


class TestWeights:
    @pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.", "module._orig_mod."])
    @pytest.mark.parametrize("wrapping", [(), ("state_dict",), ("model_state_dict",), ("model",), ("net", "state_dict")])
    @pytest.mark.parametrize("suffix", ["pt", "pth", "th"])
    def test_usual_wrappings_come_off(
        self, tmp_path: Path, state: dict[str, Tensor], prefix: str, wrapping: tuple[str, ...], suffix: str
    ) -> None:
        held: dict[str, object] = {prefix + name: value for name, value in state.items()}
        for key in wrapping:
            held = {"epoch": 3, "best": torch.tensor(0.5), key: held}
        path = tmp_path / f"w.{suffix}"
        torch.save(held, path, _use_new_zipfile_serialization=suffix != "th")
        net = load_net(SPEC, path)
        assert same(net, state)
        assert not net.training

    def test_safetensors(self, tmp_path: Path, state: dict[str, Tensor]) -> None:
        safetensors.torch.save_file(state, tmp_path / "w.safetensors")
        assert same(load_net(SPEC, tmp_path / "w.safetensors"), state)

    def test_a_prefix_that_the_net_has_itself_stays(self, tmp_path: Path, project: Path) -> None:
        (project / "own_nets.py").write_text(
            "from torch import nn\nclass Wrapped(nn.Module):\n    def __init__(self):\n"
            "        super().__init__()\n        self.model = nn.Linear(4, 3)\n"
        )
        weights = {"model.weight": torch.rand(3, 4), "model.bias": torch.rand(3)}
        for prefix in ("", "module.", "model."):
            torch.save({prefix + name: value for name, value in weights.items()}, tmp_path / "w.pt")
            assert same(load_net("own_nets:Wrapped", tmp_path / "w.pt"), weights)

    def test_counters_of_batches_may_be_missing(self, tmp_path: Path) -> None:
        wanted = load_net("resnet20").state_dict()
        torch.save({name: value for name, value in wanted.items() if "num_batches" not in name}, tmp_path / "w.pt")
        assert same(load_net("resnet20", tmp_path / "w.pt"), wanted)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"linear2.weight": None, "linear2.bias": None}, "for Sequential the file lacks linear2.weight, linear2.bias: name"),
            ({"head.bias": torch.ones(1)}, "has besides head.bias"),
            ({"linear1.bias": torch.ones(6)}, r"linear1.bias has shape \[6\], the network wants \[5\]"),
            ({f"more.{n}": torch.ones(1) for n in range(5)}, r"more.0, more.1, more.2 and 2 more"),
        ],
    )
    def test_weights_of_another_network(
        self, tmp_path: Path, state: dict[str, Tensor], change: dict[str, Tensor | None], said: str
    ) -> None:
        torch.save({name: value for name, value in (state | change).items() if value is not None}, tmp_path / "w.pt")
        refused(ModelError, said, SPEC, tmp_path / "w.pt")

    @pytest.mark.parametrize(
        ("held", "said"), [([1, 2], "holds list"), (torch.ones(3), "holds Tensor"), ({"epoch": 3}, "keys epoch"), ({}, r"\(none\)")]
    )
    def test_files_without_weights(self, tmp_path: Path, held: object, said: str) -> None:
        torch.save(held, tmp_path / "w.pt")
        refused(ModelError, f"{said}.*expected tensors by name", SPEC, tmp_path / "w.pt")

    @pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.th", "w.safetensors"])
    def test_missing_empty_or_noise(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        refused(ModelError, f"{name}: no such file", SPEC, path)
        path.touch()
        refused(ModelError, f"{name}: the file is empty", SPEC, path)
        for noise in (bytes(range(256)) * 4, b"PK\x03\x04" + bytes(200), b"hello world\n", bytes(100)):
            path.write_bytes(noise)
            refused(ModelError, f"{name}: damaged, or of another kind", SPEC, path)
        path.unlink()
        path.mkdir()
        refused(ModelError, f"{name}: damaged, or of another kind", SPEC, path)

    def test_cut_off_at_any_place(self, tmp_path: Path, state: dict[str, Tensor]) -> None:
        torch.save(state, tmp_path / "w.pt")
        safetensors.torch.save_file(state, tmp_path / "w.safetensors")
        for path in (tmp_path / "w.pt", tmp_path / "w.safetensors"):
            whole = path.read_bytes()
            for share in range(1, 20):
                path.write_bytes(whole[: len(whole) * share // 20])
                refused(ModelError, "damaged", SPEC, path)

    def test_another_suffix(self, tmp_path: Path) -> None:
        refused(ModelError, "'.onnx' is not known: expected one of .safetensors, .pt, .pth, .th", SPEC, tmp_path / "w.onnx")

    @pytest.mark.parametrize("zipped", [True, False])
    def test_code_is_not_run(self, tmp_path: Path, state: dict[str, Tensor], zipped: bool) -> None:
        torch.save({"state_dict": state, "extra": Touch(tmp_path / "ran")}, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
        refused(ModelError, r"holds \w+.mkdir, an object and not a tensor.*safetensors", SPEC, tmp_path / "w.pt")
        (tmp_path / "w.pt").write_bytes(pickle.dumps(Touch(tmp_path / "ran")))
        refused(ModelError, "damaged, or of another kind", SPEC, tmp_path / "w.pt")
        assert not (tmp_path / "ran").exists()

    def test_a_whole_module_is_an_object(self, tmp_path: Path) -> None:
        torch.save(nn.Linear(4, 3), tmp_path / "w.pt")
        refused(ModelError, "holds torch.nn.modules.linear.Linear", SPEC, tmp_path / "w.pt")

    def test_read_alone(self, tmp_path: Path, state: dict[str, Tensor]) -> None:
        torch.save({"state_dict": state}, tmp_path / "w.PT")
        assert read_weights(tmp_path / "w.PT").keys() == state.keys()


class Touch:
    """Leaves a folder behind if anyone unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)
