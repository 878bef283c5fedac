"""Trust checks: what speaks for and against the number, with evidence and remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import polars as pl

from holdfast.evaluation.check import Check, Status
from holdfast.evaluation.finite import finite
from holdfast.evaluation.sane import sane

if TYPE_CHECKING:
    from holdfast.evaluation.result import Result

BEATEN = 0.1
"""The share of tried survivors that another method may break before the number is not to be trusted."""


LATE = 0.02
"""The share of samples that random search may still break in its last queries, where gradients are doubtful."""
SEARCHES = ("square", "sparse_search")
"""The attacks whose steps are queries of a random search."""


def checks(result: Result) -> list[Check]:
    """The checks that a run's records, the look at its model and the evidence gathered after it can answer."""
    return [check(result) for check in CHECKS.values()]


def _finished(result: Result) -> Check:
    """Samples that were not attacked to the end make the robust accuracy an upper bound."""
    if result.complete:
        return Check("finished", "pass", f"every attack ended on all {result.n} samples")
    unfinished = result.records.filter(result.records["status"] == "unfinished")["sample"].n_unique()
    missing = [label for label in result.labels if not result.facts.get(label, {"complete": False})["complete"]]
    evidence = f"{unfinished} samples not attacked to the end; attacks not ended: {', '.join(missing) or 'none'}"
    return Check("finished", "warn", evidence, "the robust accuracy is an upper bound: run the same command again, with a larger budget")


def _confirmed(result: Result) -> Check:
    """Claims of the search that the user's own model did not confirm."""
    refused, claims = sum(f["refused"] for f in result.facts.values()), int(result.records["success"].sum())
    if not refused + claims:
        return Check("confirmed", "not run", "search claimed nothing")
    evidence = f"{refused} of {refused + claims} claims were refused by the model itself"
    if refused <= max(1, 0.01 * (refused + claims)):
        return Check("confirmed", "pass", evidence)
    if result.manifest["diagnosis"]["reaction"]["stochastic"]:
        return Check("confirmed", "pass", f"{evidence}, whose answers are random: a claim must fool half of twenty fresh draws")
    remedy = "the model's answers vary with batch or precision: evaluate in float32, or without a replica"
    return Check("confirmed", "warn", evidence, remedy)


def _storable(result: Result) -> Check:
    """Adversarial examples that vanish when an image is stored with 8 bits a value."""
    broken = result.records.filter("broken")
    if not len(broken):
        return Check("storable", "not run", "no sample was broken")
    survive = int(broken["eight_bit"].sum())
    evidence = f"{survive} of {len(broken)} adversarial examples still fool the model as 8-bit images"
    if survive >= 0.5 * len(broken):
        return Check("storable", "pass", evidence)
    return Check("storable", "warn", evidence, "the examples lie within a quantisation step of the boundary: judge with the 8-bit column")


def _deterministic(result: Result) -> Check:
    """Answers that vary from ask to ask."""
    seen = result.manifest["diagnosis"]
    if not seen["rows"]:
        return Check("deterministic", "not run", "no answer of the model could be looked at")
    evidence = f"four answers to the same inputs differ by {seen['apart']:.2g} of the largest logit"
    if not seen["reaction"]["stochastic"]:
        return Check("deterministic", "pass", evidence)
    met = "gradients were means over draws" if _reacts(result) else "this suite does not average over draws"
    remedy = f"{met}; a claim counts where half of twenty fresh draws are fooled: run autoattack-rand as well"
    return Check("deterministic", "warn", evidence, remedy)


def _logits(result: Result) -> Check:
    """Probabilities in place of logits, or logits so far apart that a softmax of them saturates."""
    seen = result.manifest["diagnosis"]
    if not seen["rows"]:
        return Check("logits", "not run", "no answer of the model could be looked at")
    kind = "probabilities" if seen["probabilities"] else "logits"
    evidence = (
        f"the answers are {kind}; the two highest {'logarithms' if seen['probabilities'] else 'logits'} lie {seen['spread']:.3g} apart"
    )
    if not seen["probabilities"] and seen["reaction"]["scale"] == 1:
        return Check("logits", "pass", evidence)
    met = (
        "search saw " + ("their logarithms" if seen["probabilities"] else "them scaled")
        if _reacts(result)
        else "this suite takes them as they are"
    )
    return Check("logits", "warn", evidence, f"{met}: give the model without its last softmax, or without what sharpens it")


def _gradients(result: Result) -> Check:
    """Gradients that have vanished, or are not to be had."""
    seen = result.manifest["diagnosis"]
    if not seen["rows"]:
        return Check("gradients", "not run", "no answer of the model could be looked at")
    chosen, dead = seen["reaction"]["gradient"], seen["dead"]
    if chosen == "none" and dead == 0:
        return Check("gradients", "not run", "the model gives no gradients, so no attack went by them")
    evidence = f"{dead:.0%} of {seen['rows']} samples have no gradient to speak of"
    if not seen["reaction"]["doubtful"] and dead <= 0.02:
        return Check("gradients", "pass", evidence)
    tried = ", ".join(f"{name} {share:.0%}" for name, share in seen["trials"].items())
    evidence += f"; surviving by gradient: {tried}" if tried else ""
    late, searched, queries = _late(result)
    if late:
        evidence += f"; random search still broke {late} of {searched} samples in its last {queries:,} queries"
    blind, best = seen["trials"].get("none", 1.0), seen["trials"].get(chosen, 1.0)
    useless = chosen in ("own", "none") or best > blind + 0.1
    if late >= max(1, LATE * searched):
        return Check("gradients", "fail", evidence, "search without gradients had not ended: raise --effort, or give square() more steps")
    if not _reacts(result) or (useless and result.robust_rate.value > 0.05):
        remedy = "the gradient is masked, so the number is an upper bound only: attack the net without the part that hides it"
        return Check("gradients", "fail", evidence, remedy)
    met = {"none": "without gradients", "own": "by the model's own gradient", "straight": "by straight-through gradients (BPDA)"}
    ways = met.get(chosen, f"by the gradient of a {chosen} copy")
    return Check("gradients", "warn", evidence, f"the gradient is masked, so search went {ways}: attack the net without that part too")


def _late(result: Result) -> tuple[int, int, int]:
    """Of the plan's random searches: how many samples they broke in their last queries, of how many they were made on, and how many queries
    these last are: a thousand, or half of a short search."""
    late = searched = last = 0
    for entry in result.manifest["attacks"]:
        if entry["attack"].partition("(")[0] not in SEARCHES or entry["label"] not in result.facts:
            continue
        records = result.records.filter(pl.col("attack") == entry["label"])
        window = min(1000, entry["steps"] // 2)
        late += records.filter("broken", pl.col("step") >= entry["steps"] - window).height
        searched, last = searched + len(records), max(last, window)
    return late, searched, last


def _untried(result: Result, name: str) -> Check | None:
    """The check where its evidence is missing, or tells of nothing that was tried; None where there is something to judge."""
    facts = result.trust.get(name)
    if facts is None:
        return Check(name, "not run", "the evidence was not gathered")
    if not facts.get("tried"):
        return Check(name, "not run", facts.get("reason") or "no survivor to try it on")
    return None


def _beaten(name: str, what: str, remedy: str) -> Callable[[Result], Check]:
    """A method that must not break what the plan's attacks left."""

    def check(result: Result) -> Check:
        if untried := _untried(result, name):
            return untried
        tried, broken = result.trust[name]["tried"], result.trust[name]["broken"]
        evidence = f"{what} broke {broken} of {tried} survivors"
        if not broken:
            return Check(name, "pass", evidence)
        status: Status = "fail" if broken > max(1, BEATEN * tried) else "warn"
        return Check(name, status, f"{evidence}, which count as broken", remedy)

    check.__doc__ = f"What the plan's attacks left must withstand {what}."
    return check


def _larger_radius(result: Result) -> Check:
    """Twice the radius must break more."""
    if untried := _untried(result, "larger_radius"):
        return untried
    tried, broken = result.trust["larger_radius"]["tried"], result.trust["larger_radius"]["broken"]
    evidence = f"at twice the radius {broken} of {tried} survivors fell to the first attempt"
    if broken:
        return Check("larger_radius", "pass", evidence)
    if tried < 8:
        return Check("larger_radius", "not run", f"{evidence}: too few to judge by")
    return Check(
        "larger_radius", "warn", evidence, "a larger radius should help: look at the gradients, and at the accuracy against radius"
    )


def _unbounded(result: Result) -> Check:
    """Attacks that may go anywhere in the range must break every survivor, where another class is known to be in reach."""
    if untried := _untried(result, "unbounded"):
        return untried
    tried = result.trust["unbounded"]["tried"]
    left = tried - result.trust["unbounded"]["broken"]
    evidence = f"{left} of {tried} survivors withstood three attacks that may go anywhere in the range"
    if not left:
        return Check("unbounded", "pass", evidence)
    remedy = "other inputs of the data are answered differently, so the gradient misleads search: the number is an upper bound only"
    return Check("unbounded", "fail" if left > max(1, BEATEN * tried) else "warn", evidence, remedy)


def _binarisation(result: Result) -> Check:
    """Planted adversarial examples that the attacks must find (Zimmermann et al. 2022)."""
    facts = result.trust.get("binarisation")
    if facts is None or not facts.get("plants"):
        reason = "the evidence was not gathered" if facts is None else facts.get("reason") or "nothing was planted"
        return Check("binarisation", "not run", reason)
    missed = facts["plants"] - facts["found"]
    evidence = f"{facts['found']} of {facts['plants']} planted adversarial examples found, {facts['random']} by random points"
    if not missed:
        return Check("binarisation", "pass", evidence)
    remedy = "the attacks miss what is there, so the accuracy is too high: more steps or restarts, another objective, a better gradient"
    return Check("binarisation", "fail" if missed > max(1, 0.05 * facts["plants"]) else "warn", evidence, remedy)


def _converged(result: Result) -> Check:
    """Whether more of the same search would still break samples."""
    found = result.audit
    if found is None:
        levels = any(entry["level"] for entry in result.manifest["attacks"])
        return Check("converged", "not run", "search has not ended" if levels else "this plan does not estimate it")
    made, most = len(found.depth.levels), found.remaining_most
    evidence = (
        f"after level {made} of {found.depth.deepest}: {found.remaining:.3g} of {found.n} samples, 95 % at most {most:.3g}, would fall"
    )
    if found.depth.converged:
        return Check("converged", "pass", evidence)
    if found.depth.unfinished:
        return Check("converged", "warn", f"a budget cut off {found.depth.unfinished} attempts", "give more --queries, or none")
    return Check("converged", "warn", evidence, "attacks still broke samples when the plan ended: raise --effort")


def _reacts(result: Result) -> bool:
    """Whether the plan was one that changes to suit the model."""
    return bool(result.manifest["reacts"])


CHECKS: dict[str, Callable[[Any], Check]] = {
    "finished": _finished,
    "converged": _converged,
    "sane": sane,
    "finite": finite,
    "confirmed": _confirmed,
    "storable": _storable,
    "deterministic": _deterministic,
    "logits": _logits,
    "gradients": _gradients,
    "noise": _beaten("noise", "64 random points", "random points must not beat gradients: these are masked, or the attacks too weak"),
    "gradient_free": _beaten(
        "gradient_free",
        "random search (2,000 queries)",
        "search without gradients must not beat the attacks: gradients are masked, or the search too short: raise --effort",
    ),
    "minimum_norm": _beaten(
        "minimum_norm", "a search for the smallest change", "another method must not beat the attacks: raise --effort, or add it to them"
    ),
    "smoothed": _beaten(
        "smoothed", "the gradient of a smoothed copy", "a transfer from a smoothed copy must not beat the gradient itself: it is masked"
    ),
    "more_steps": _beaten("more_steps", "three times the steps from another start", "the attacks have not converged: raise --effort"),
    "larger_radius": _larger_radius,
    "unbounded": _unbounded,
    "binarisation": _binarisation,
}
