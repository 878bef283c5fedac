"""Claim: searching on a replica reports no success that the user's model refuses, and finds as much; how much faster it is, is stated.

PGD-20 on five nets of 32 × 32 images (batch norm, group norm, attention, LSTM, forward hooks; untrained, the labels are their own answers,
the radius is the median distance that DeepFool finds) and PGD-40 on the adversarially trained LeNet-5, on the replica that `engine.choose`
picks (its seconds are stated, and outside the time), against the same search on the model itself with the pieces that suit it best. Last,
LeNet-5 with bfloat16 forced upon the search, whatever its speed.
Bar: no reported success that the plain net refuses; robust accuracy within one image of the search on the model itself.
Command: scripts/bench replica        (CPU)
         scripts/bench --gpu replica  (CUDA, larger batches)
Runs on: cpu gpu
"""

from __future__ import annotations

import torch
from common import Sheet, arguments, case, cifar10, clock, interleaved, paired, span
from nets import AttentionNet, LstmNet, group_norm_net, hooked_net
from torch import Tensor, nn

from holdfast import Classifier, Linf, attacks, engine
from holdfast.core.attack import Attack
from holdfast.engine import Choice, Outcome, Pieces, Samples, Setting
from holdfast.models import preact_resnet18


def untrained(net: nn.Module, x: Tensor) -> nn.Module:
    """The net in eval mode, with batch statistics of `x` and every class among its answers."""
    net = net.to(x.device)
    head = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        for _ in range(20):
            net.train()(x[:64])
        head.bias -= net.eval()(x[:64]).mean(dim=0)
    return net


def compare(
    sheet: Sheet, name: str, net: nn.Module, x: Tensor, y: Tensor, attack: Attack, rounds: int, forced: Choice | None = None
) -> None:
    model, samples = Classifier(net, 10), Samples.of(x, y)
    chosen: list[Choice] = []
    seconds = clock(lambda: chosen.append(engine.choose(model, x[:32])))
    choice = forced or chosen[0]
    plain = engine.choose(model, x[:32], copies=False)
    search = engine.replica(model, choice)
    found: dict[str, Outcome] = {}

    def ours() -> None:
        found["replica"] = engine.run(attack, model, samples, Setting(pieces=choice.pieces), search=search)

    def itself() -> None:
        found["itself"] = engine.run(attack, model, samples, Setting(pieces=plain.pieces))

    times = interleaved({"replica": ours, "itself": itself}, rounds)
    quick, own = found["replica"], found["itself"]
    claims = (quick.success & ~quick.wrong).to(x.device)
    with torch.no_grad():
        refused = int((net(quick.adversarial.to(x.device)[claims]).argmax(dim=1) == y[claims]).sum()) if bool(claims.any()) else 0
    apart = abs(int(quick.success.sum()) - int(own.success.sum()))
    gain = 1 / paired(times["replica"], times["itself"])
    print(f"  {name}: {'forced ' + str(choice) if forced else choice.why}")
    words = (
        f"{gain:.2f} × as fast as the model itself ({span(times['itself'])}); chosen in {seconds:.2f} s; robust accuracy "
        f"{1 - float(quick.success.double().mean()):.4f}, {1 - float(own.success.double().mean()):.4f} by the model itself; claims "
        f"{int(claims.sum())}, {quick.refused} more refused in search, reported though refused {refused}"
    )
    what = f"{choice.form} copy" if choice.form != "own" else "the model itself"
    label = f"replica: {name}, {attack}, {what}, {choice.dtype or 'float32'}, {choice.pieces.layout}, pieces of {choice.pieces.rows}"
    sheet.row(label, len(x), span(times["replica"]), words, "reported though refused 0, ≤ 1 image apart", refused == 0 and apart <= 1)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    device = "cuda" if options.gpu else "cpu"
    sheet = Sheet(options.record, device)
    torch.manual_seed(0)
    x = (cifar10(32 if options.quick else 2000 if options.gpu else 96)[0].float() / 255).to(device)
    width = 64 if options.gpu else 8
    nets = {
        f"PreAct-ResNet-18, width {width}": preact_resnet18(width=width), "group norm": group_norm_net(),
        "attention": AttentionNet(), "LSTM": LstmNet(), "forward hooks": hooked_net(),
    }  # fmt: skip
    for name, made in nets.items():
        net = untrained(made, x)
        with torch.no_grad():
            y = net(x).argmax(dim=1)
        near = engine.run(attacks.deepfool(Linf(0.5), steps=10), Classifier(net, 10), Samples.of(x[:32], y[:32]))
        radius = float(near.found.size[near.success].median())
        compare(sheet, name, net, x, y, attacks.pgd(radius, steps=20), options.rounds)
    one = case("mnist_lenet5_adv", 32 if options.quick else 2000 if options.gpu else 256)
    net, x, y = one.plain.to(device), one.x.to(device), one.y.to(device)
    compare(sheet, "LeNet-5", net, x, y, attacks.pgd(one.epsilon, steps=40, step=0.01), options.rounds)
    few = slice(0, len(x) if options.gpu else 64)
    forced = Choice("frozen", "bfloat16", Pieces(2048 if options.gpu else 64, "channels_last"))
    compare(sheet, "LeNet-5, forced", net, x[few], y[few], attacks.pgd(one.epsilon, steps=10), 1, forced)
    sheet.close()


if __name__ == "__main__":
    main()
