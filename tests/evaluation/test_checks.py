"""Each trust check, in every state that it can be in."""

from types import SimpleNamespace

import polars as pl
import pytest

from holdfast.evaluation.audit import Audit, LeftOut
from holdfast.evaluation.checks import CHECKS, checks
from holdfast.evaluation.depth import Depth, Level
from holdfast.evaluation.diagnosis import Diagnosis
from holdfast.evaluation.reaction import Reaction
from holdfast.evaluation.tables import Rate


def result(
    trust=None,
    robust=(60, 100),
    clean=None,
    reacts=True,
    refused=0,
    broken=(),
    complete=True,
    attacks=True,
    records=None,
    nan=(),
    dtype=None,
    search=None,
    late=(),
    **seen,
):
    """As much of a result as checks look at: `broken`: whether each broken sample's example survives 8 bits; `nan`: how many of the 100
    forwards and 100 backwards of the samples 99, 98, ... were not numbers; `late`: the steps at which a random search of 5,000 queries
    broke each of its samples; `seen`: the diagnosis."""
    reaction = Reaction(**seen.pop("reaction", {}))
    known = Diagnosis(**({"rows": 32, "spread": 3.0} | seen), reaction=reaction)
    frame = pl.DataFrame(
        {"sample": range(len(broken)), "broken": True, "success": True, "eight_bit": list(broken), "status": "broken"},
        schema={"sample": pl.Int64, "broken": pl.Boolean, "success": pl.Boolean, "eight_bit": pl.Boolean, "status": pl.String},
    )
    asked = pl.DataFrame(
        [{"sample": 99 - i, "forwards": 100, "backwards": 100, "nan_forwards": f, "nan_backwards": b} for i, (f, b) in enumerate(nan)],
        schema=dict.fromkeys(("sample", "forwards", "backwards", "nan_forwards", "nan_backwards"), pl.Int64),
    )
    steps = {"attack": ["02-square"] * len(late), "broken": [True] * len(late), "success": [False] * len(late), "step": list(late)}
    kinds = {"attack": pl.String, "broken": pl.Boolean, "success": pl.Boolean, "step": pl.Int64}
    frame = pl.concat([frame, asked, pl.DataFrame(steps, schema=kinds)], how="diagonal") if records is None else records
    if clean is None:
        clean = pl.DataFrame({"label": [i % 4 for i in range(100)], "prediction": [i % 4 for i in range(100)], "correct": True})
    standing = pl.DataFrame({"sample": range(100), "robust": [i >= 100 - robust[0] for i in range(100)]})
    return SimpleNamespace(
        complete=complete, n=100, clean=clean, records=frame, standing=standing, labels=["00-a", "01-b"],
        facts={"00-a": {"complete": attacks, "refused": refused}, "02-square": {"complete": True, "refused": 0}},
        trust=trust or {}, robust_rate=Rate(*robust), audit=search,
        manifest={
            "reacts": reacts, "diagnosis": {**vars(known), "reaction": vars(reaction)}, "once": {"choice": {"dtype": dtype}},
            "model": {"classes": 4},
            "attacks": [
                {"label": "00-a", "attack": "pgd()", "steps": 8, "level": 0},
                {"label": "02-square", "attack": "square(4/255)", "steps": 5000, "level": 0},
            ],
        },
    )  # fmt: skip


def searched(*levels):
    """What calibration samples said after these levels of four."""
    found = Depth(levels, (), (), 100, 100, 4, 0.5, True)
    nothing = LeftOut(0, 0, 0, 0.0)
    return {"search": Audit(found, nothing, nothing, 100, 100)}


def tally(name, tried, broken):
    return {"trust": {name: {"tried": tried, "broken": broken}}}


def planted(plants, found, **more):
    return {"trust": {"binarisation": {"plants": plants, "tried": plants, "found": found, "random": 0, "reason": "", **more}}}


ANSWERS = pl.DataFrame({"label": [i % 4 for i in range(100)], "prediction": 0, "correct": [i % 4 == 0 for i in range(100)]})
STRAIGHT = {"doubtful": True, "gradient": "straight"}
DOUBTFUL = {"dead": 1.0, "reaction": STRAIGHT, "trials": {"straight": 0.1, "none": 0.5}}
BEATEN = [
    case
    for name in ("noise", "gradient_free", "minimum_norm", "smoothed", "more_steps")
    for case in [
        (name, {}, "not run", "not gathered"),
        (name, {"trust": {name: {"reason": "not in this norm"}}}, "not run", "not in this norm"),
        (name, tally(name, 0, 0), "not run", "no survivor"),
        (name, tally(name, 0, 0) | {"robust": (0, 100)}, "not run", "no survivor"),
        (name, {"trust": {name: {"reason": "of one shard", "tried": 3, "broken": 0}}}, "pass", "broke 0 of 3"),
        (name, tally(name, 24, 0), "pass", "broke 0 of 24"),
        (name, tally(name, 24, 1), "warn", "broke 1 of 24 survivors, which count as broken"),
        (name, tally(name, 24, 2), "warn", "broke 2 of 24"),
        (name, tally(name, 24, 3), "fail", "broke 3 of 24"),
        (name, tally(name, 3, 1), "warn", "broke 1 of 3"),
    ]
]
CASES = [
    ("finished", {}, "pass", "all 100 samples"),
    ("finished", {"complete": False}, "warn", "attacks not ended: 01-b"),
    ("finished", {"complete": False, "attacks": False}, "warn", "attacks not ended: 00-a, 01-b"),
    ("converged", {}, "not run", "does not estimate it"),
    ("converged", searched(Level(50, 3, 0), Level(50, 0, 0)), "pass", "after level 2 of 4: 0 of 100 samples, 95 % at most 3"),
    ("converged", searched(Level(50, 3, 0), Level(50, 0, 1)), "warn", "1 of 100 samples"),
    ("sane", {}, "pass", "clean accuracy 100.0% of 4 classes"),
    ("sane", {"clean": ANSWERS.head(10)}, "not run", "10 samples"),
    ("sane", {"clean": ANSWERS}, "fail", "class 0 for 100.0%"),
    ("sane", {"clean": ANSWERS.filter(pl.col("label") < 1)}, "pass", "of which 1"),
    ("finite", {}, "not run", "no sample was attacked"),
    ("finite", {"nan": [(0, 0)] * 9}, "pass", "0.00% of the 900 answers"),
    (
        "finite",
        {"nan": [(1, 0), *[(0, 0)] * 9]},
        "warn",
        "0.10% of the 1,000 answers under attack were not numbers (NaN or infinite), on 1 of 60",
    ),
    ("finite", {"nan": [(1, 0)] * 2 + [(0, 0)] * 9}, "fail", "on 2 of 60 surviving"),
    ("finite", {"nan": [(100, 0)]}, "fail", "100.00%"),
    ("finite", {"nan": [(100, 0)], "robust": (0, 100)}, "warn", "on 0 of 0 surviving"),
    ("finite", {"nan": [(0, 5)]}, "warn", "5.00% of the gradients"),
    ("finite", {"nan": [(0, 20)]}, "fail", "20.00% of the gradients"),
    ("finite", {"nan": [(0, 20)], "reaction": STRAIGHT}, "warn", "20.00% of the gradients"),
    ("finite", {"nan": [(9, 0)], "dtype": "bfloat16"}, "fail", "9.00%"),
    ("confirmed", {}, "not run", "claimed nothing"),
    ("confirmed", {"broken": [True] * 4}, "pass", "0 of 4"),
    ("confirmed", {"refused": 1, "broken": [True] * 4}, "pass", "1 of 5"),
    ("confirmed", {"refused": 2, "broken": [True] * 4}, "warn", "2 of 6"),
    ("confirmed", {"refused": 3, "broken": [True] * 297}, "pass", "3 of 300"),
    ("confirmed", {"refused": 2, "broken": [True] * 4, "reaction": {"stochastic": True}}, "pass", "fresh draws"),
    ("storable", {}, "not run", "no sample"),
    ("storable", {"broken": [True, False]}, "pass", "1 of 2"),
    ("storable", {"broken": [True, False, False]}, "warn", "1 of 3"),
    ("deterministic", {"apart": 1e-7}, "pass", "1e-07"),
    ("deterministic", {"apart": 0.1, "reaction": {"stochastic": True}}, "warn", "0.1"),
    ("logits", {}, "pass", "the answers are logits"),
    ("logits", {"probabilities": True, "reaction": {"logarithm": True}}, "warn", "the answers are probabilities"),
    ("logits", {"spread": 50.0, "reaction": {"scale": 10.0}}, "warn", "lie 50 apart"),
    *[(name, {"rows": 0}, "not run", "no answer") for name in ("deterministic", "logits", "gradients")],
    ("gradients", {"dead": 0.02}, "pass", "2% of 32"),
    ("gradients", {"reaction": {"doubtful": True, "gradient": "none"}}, "not run", "gives no gradients"),
    ("gradients", DOUBTFUL | {"late": [4001, 1]}, "fail", "still broke 1 of 2 samples in its last 1,000 queries"),
    ("gradients", DOUBTFUL | {"late": [3999, 1]}, "warn", "surviving by gradient: straight 10%, none 50%"),
    ("gradients", DOUBTFUL | {"late": [4001, *[1] * 99]}, "warn", "still broke 1 of 100"),
    ("gradients", {"late": [4001, 1]}, "pass", "0% of 32"),
    ("gradients", {"dead": 0.5, "reacts": False}, "fail", "50%"),
    ("gradients", {"dead": 1.0, "reaction": STRAIGHT, "trials": {"straight": 0.1, "none": 0.5}}, "warn", "straight 10%, none 50%"),
    ("gradients", {"dead": 1.0, "reaction": STRAIGHT, "trials": {"straight": 0.7, "none": 0.5}}, "fail", "straight 70%"),
    ("gradients", {"dead": 1.0, "reaction": STRAIGHT | {"gradient": "none"}, "trials": {"none": 0.5}}, "fail", "none 50%"),
    ("gradients", {"dead": 1.0, "reaction": STRAIGHT | {"gradient": "none"}, "robust": (5, 100)}, "warn", "100%"),
    *BEATEN,
    ("larger_radius", {}, "not run", "not gathered"),
    ("larger_radius", {"trust": {"larger_radius": {"reason": "none here"}}}, "not run", "none here"),
    ("larger_radius", tally("larger_radius", 0, 0), "not run", "no survivor"),
    ("larger_radius", tally("larger_radius", 24, 1), "pass", "1 of 24"),
    ("larger_radius", tally("larger_radius", 7, 0), "not run", "0 of 7 survivors fell to the first attempt: too few"),
    ("larger_radius", tally("larger_radius", 7, 1), "pass", "1 of 7"),
    ("larger_radius", tally("larger_radius", 8, 0), "warn", "0 of 8"),
    ("unbounded", {}, "not run", "not gathered"),
    ("unbounded", {"trust": {"unbounded": {"reason": "answers all inputs alike"}}}, "not run", "alike"),
    ("unbounded", tally("unbounded", 16, 16), "pass", "0 of 16"),
    ("unbounded", tally("unbounded", 16, 15), "warn", "1 of 16"),
    ("unbounded", tally("unbounded", 16, 14), "fail", "2 of 16"),
    ("binarisation", {}, "not run", "not gathered"),
    ("binarisation", {"trust": {"binarisation": {"reason": "no features"}}}, "not run", "no features"),
    ("binarisation", planted(0, 0), "not run", "nothing was planted"),
    ("binarisation", planted(24, 24), "pass", "24 of 24"),
    ("binarisation", planted(24, 23), "warn", "23 of 24"),
    ("binarisation", planted(24, 22), "fail", "22 of 24"),
]


@pytest.mark.parametrize(("name", "told", "status", "words"), CASES)
def test_a_check_says(name, told, status, words):
    check = CHECKS[name](result(**told))
    assert (check.name, check.status) == (name, status) and words in check.evidence
    assert bool(check.remedy) == (status in ("warn", "fail")), "what is wrong comes with what to do, and only that"


def test_every_check_is_asked_once_and_reaches_its_states():
    found = checks(result())
    assert [check.name for check in found] == list(CHECKS) and len(found) == 17
    judged = {name: {status for other, _, status, _ in CASES if other == name} for name in CHECKS}
    assert all("pass" in states and len(states) >= 2 for states in judged.values())


def test_what_search_did_about_it_is_said_only_of_suites_that_react():
    random, sharp = {"reaction": {"stochastic": True}}, {"reaction": {"scale": 9.0}}
    for name, told, met, unmet in [
        ("deterministic", random, "means over draws", "does not average"),
        ("logits", sharp, "search saw them scaled", "takes them as they are"),
    ]:
        assert met in CHECKS[name](result(**told)).remedy and unmet in CHECKS[name](result(**told, reacts=False)).remedy


def test_samples_that_were_not_attacked_to_the_end_are_counted_once():
    records = pl.DataFrame({"sample": [3, 3, 4, 5], "status": ["unfinished", "unfinished", "unfinished", "withstood"]})
    assert CHECKS["finished"](result(complete=False, records=records)).evidence.startswith("2 samples")
