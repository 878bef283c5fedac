"""Attacks are built from sentences: what cannot be meant is refused with a reason, what prints can be read back."""

import math

import pytest

from holdfast.attacks import apgd, apgd_targeted, bim, bim_a, bim_b, carlini_wagner, cosine, deepfool, fgsm, least_likely, mi_fgsm, pgd
from holdfast.attacks.short import ENTRIES, find, number, parse, parse_threat
from holdfast.core.errors import ConfigError
from holdfast.parts.threats import L0, L1, L2, Linf

BOUNDED = [apgd, apgd_targeted, bim, bim_a, bim_b, cosine, fgsm, least_likely, mi_fgsm, pgd]
STEPPED = [apgd, apgd_targeted, bim, bim_a, bim_b, cosine, least_likely, mi_fgsm, pgd]


@pytest.mark.parametrize("make", BOUNDED)
@pytest.mark.parametrize("radius", [0.0, -0.1, math.inf, math.nan])
def test_a_radius_must_be_positive_and_finite(make, radius):
    with pytest.raises(ConfigError):
        make(radius)


@pytest.mark.parametrize("make", STEPPED)
@pytest.mark.parametrize("steps", [0, -1])
def test_at_least_one_step_is_needed(make, steps):
    with pytest.raises(ConfigError):
        make(0.1, steps=steps)


@pytest.mark.parametrize("make", [
    lambda: deepfool(steps=0), lambda: carlini_wagner(steps=0), lambda: carlini_wagner(searches=0), lambda: carlini_wagner(rate=0.0),
    lambda: carlini_wagner(confidence=-1.0), lambda: carlini_wagner(initial=0.0), lambda: pgd(0.1, step=0.0), lambda: pgd(0.1, step=-1.0),
    lambda: pgd(0.1, restarts=0), lambda: pgd(0.1, objective="loss"), lambda: apgd(L0(3.0)), lambda: carlini_wagner(Linf(1.0)),
    lambda: pgd(0.1, objective="targeted_dlr"), lambda: apgd(0.1, eot=0), lambda: apgd(0.1, eot=-3),
    lambda: cosine(0.1, starts=()), lambda: cosine(0.1, starts=("corner", "middle")), lambda: cosine(0.1, starts="corner"),
    lambda: cosine(0.1, share=0.0), lambda: cosine(0.1, share=math.inf), lambda: cosine(L1(1.0)), lambda: cosine(0.1, restarts=0),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused(make):
    with pytest.raises(ConfigError):
        make()


@pytest.mark.parametrize("attack", [
    fgsm(8 / 255), fgsm(L2(0.5), targeted=True), bim(0.3, steps=7), bim_a(0.3), bim_b(0.3, step=0.01), least_likely(16 / 255, steps=5),
    pgd(L1(12.0), steps=20, restarts=3), pgd(0.1, early=False, random_start=False), mi_fgsm(0.1, decay=0.9), apgd(8 / 255, objective="dlr"),
    apgd(8 / 255, eot=20), apgd(L1(12.0), slide=True), apgd_targeted(L1(12.0), larger_radii=False), apgd_targeted(L2(0.5), rivals=3),
    deepfool(), deepfool(Linf(math.inf), overshoot=0.1),
    carlini_wagner(confidence=5.0, targeted=True), cosine(8 / 255), cosine(L2(0.5), steps=7, restarts=4, rivals=3, decay=0.9, share=1.5),
    cosine(0.1, restarts=2, starts=("clean", "corner")), cosine(0.1, starts=("diversified",)),
], ids=str)  # fmt: skip
def test_what_prints_reads_back_as_the_same_attack(attack):
    again = parse(str(attack))
    assert again == attack and again.digest == attack.digest and again.name in ENTRIES


def test_a_changed_parameter_is_another_attack():
    sentences = ["pgd(0.1)", "pgd(0.1, steps=41)", "pgd(0.1, restarts=2)", "pgd(0.2)", "pgd(L2(0.1))", "bim(0.1)"]
    sentences += ["pgd(0.1, objective='dlr')", "mi_fgsm(0.1)", "mi_fgsm(0.1, decay=10.0)", "mi_fgsm(0.1, decay=1.05)"]
    assert len({parse(sentence).digest for sentence in sentences}) == len(sentences)
    assert parse("pgd(0.1, steps=40)").digest == parse("pgd(0.1)").digest


def test_a_tuple_of_starts_is_read_and_printed():
    text = "cosine(0.1, restarts=2, starts=('clean', 'corner'))"
    assert parse(text.replace(", 'corner'", ",'corner'")) == parse(text.replace("(", "[", 2).replace("[", "(", 1).replace("))", "])"))
    assert parse(text) == cosine(0.1, restarts=2, starts=("clean", "corner")) and str(parse(text)) == text
    assert parse(text).digest != parse("cosine(0.1, restarts=2, starts=('corner', 'clean'))").digest
    assert parse("cosine(0.1, starts=('clean',))").digest == parse("cosine(0.1)").digest
    with pytest.raises(ConfigError, match="clean, corner, uniform, diversified"):
        parse("cosine(0.1, starts=('middle',))")


def test_a_threat_from_outside_serves_where_the_sentence_gives_none():
    assert parse("pgd", L2(0.5)).threat == L2(0.5)
    assert parse("pgd(0.1)", L2(0.5)).threat == Linf(0.1)
    assert parse("deepfool", L2(0.5)).threat == L2(math.inf)


@pytest.mark.parametrize("text", [
    "", "pgd(", "pgd", "pdg(0.1)", "pgd(0.1, step_size=1)", "pgd(__import__('os').getcwd())", "pgd(0.1, steps=2**9)", "(lambda: 1)()",
    "pgd(0.1, **{})", "pgd(1/0)", "pgd(0.1)(0.2)", "pgd(0.1, 1, 2, 3, 4, 5, 6, 7, 8, 9)", "a.b(1)",
])  # fmt: skip
def test_unreadable_sentences_are_refused(text):
    with pytest.raises(ConfigError):
        parse(text)


def test_a_near_miss_is_named():
    with pytest.raises(ConfigError, match="apgd"):
        find("agpd")
    with pytest.raises(ConfigError, match="restarts"):
        parse("pgd(0.1, restart=3)")


def test_threats_are_read_with_fractions():
    assert parse_threat("linf:8/255") == Linf(8 / 255)
    assert parse_threat("L2:0.5") == L2(0.5) and parse_threat("l1:12") == L1(12.0) and parse_threat("l0:10") == L0(10.0)
    for text in ("linf", "l3:1", "l2:-1", "l2:x", "l2:0", ":1"):
        with pytest.raises(ConfigError):
            parse_threat(text)


@pytest.mark.parametrize("value", [8 / 255, 0.3, 1 / 3, 1e-7, 12.0, 254 / 255, 0.1 + 0.2])
def test_numbers_print_without_loss(value):
    top, _, bottom = number(value).partition("/")
    assert float(top) / float(bottom or 1) == value


def test_steps_are_whole_numbers() -> None:
    with pytest.raises(ConfigError, match=r"steps=1\.5: expected a whole number"):
        pgd(0.1, steps=1.5)  # type: ignore[arg-type]
