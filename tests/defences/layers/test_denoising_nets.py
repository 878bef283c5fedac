"""The paper's networks: blocks where it has them, and the published number of weights around them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from holdfast import Classifier, catalogue
from holdfast.defences.layers import DENOISING_NETS, OPERATIONS, Denoise, place
from holdfast.engine.straight import straight
from holdfast.models import load_net, preact_resnet18, resnet50, resnet101, resnet152, resnext101

PLAIN = {
    "resnet50_denoise": (resnet50, ["layer1.3", "layer2.4", "layer3.6", "layer4.3"]),
    "resnet101_denoise": (resnet101, ["layer1.3", "layer2.4", "layer3.23", "layer4.3"]),
    "resnet152_denoise": (resnet152, ["layer1.3", "layer2.8", "layer3.36", "layer4.3"]),
    "resnext101_denoise_all": (
        resnext101, [f"layer{stage}.{k}.1" for stage, count in zip((1, 2, 3, 4), (3, 4, 23, 3), strict=True) for k in range(count)]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_blocks_stand_where_the_paper_has_them(name: str) -> None:
    plain, places = PLAIN[name]
    with torch.device("meta"):
        net, bare = DENOISING_NETS[name](), plain()
    blocks = {where: module for where, module in net.named_modules() if isinstance(module, Denoise)}
    assert list(blocks) == places
    dot = name.endswith("all")
    more = 0
    for where, block in blocks.items():
        c = 128 * 2 ** int(where[5])
        assert block.operation == ("nonlocal_dot" if dot else "nonlocal_gaussian") and block.embedded is not dot
        more += (c * c if dot else 2 * c * c) + 2 * c
    count = [sum(p.numel() for p in whole.parameters()) for whole in (net, bare)]
    assert count[0] == count[1] + more


@pytest.mark.parametrize("name", PLAIN)
def test_they_answer_and_start_as_the_net_without(name: str) -> None:
    plain, _ = PLAIN[name]
    net, bare = load_net(f"{name}(classes=5, width=8)", makers=catalogue.NETS), plain(classes=5, width=8).eval()
    assert not net.training
    if not name.endswith("all"):
        missing = net.load_state_dict(bare.state_dict(), strict=False)
        assert not missing.unexpected_keys
        x = torch.rand(2, 3, 48, 32)
        torch.testing.assert_close(net(x), bare(x))
    assert net(torch.rand(1, 3, 33, 40)).shape == (1, 5)


def test_they_are_listed() -> None:
    assert set(PLAIN) == set(DENOISING_NETS) <= {row["name"] for row in catalogue.models()}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_stand_in_of_search_answers_and_slopes_as_the_net(operation: str) -> None:
    torch.manual_seed(0)
    net = place(preact_resnet18(width=4).eval(), "layer?", lambda channels: Denoise(channels, operation), torch.rand(1, 3, 8, 8))
    for module in net.modules():
        if isinstance(module, Denoise):
            nn.init.ones_(module.bn.weight)
    model, x = Classifier(net, 10), torch.rand(2, 3, 8, 8)
    answers = []
    for asked in (model, straight(model, x)):
        point = x.clone().requires_grad_()
        logits = asked(point).logits
        answers.append((logits.detach(), torch.autograd.grad(logits[:, 0].sum(), point)[0]))
    for mine, other in zip(*answers, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)
