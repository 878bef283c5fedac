"""The verdict: what a run found and what that is worth, in plain words."""

from __future__ import annotations

from typing import Any

from holdfast.attacks.short import number
from holdfast.evaluation import Result
from holdfast.report.words import counted, interval, listed, percent


def verdict(result: Result) -> str:
    """The accuracies with their 95 % intervals, what they speak of, and every reason to doubt them.

    The robust accuracy of an evaluation by attacks is an upper bound of the true one; unfinished runs and trust checks that
    did not pass are named.
    """
    if result.n == 0:
        return "No sample has been measured yet: run the same evaluate command again."
    sentences = (_found(result), _worth(result), _search(result), _numbers(result), _unfinished(result), _doubts(result))
    return " ".join(sentence for sentence in sentences if sentence)


def threat_words(manifest: dict[str, Any]) -> str:
    """The threat as people write it: `Linf 8/255`."""
    norm, radius = manifest["threat"]["norm"], manifest["threat"]["radius"]
    return f"{norm} of any size" if radius is None else f"{norm} {number(radius)}"


def _found(result: Result) -> str:
    clean, robust = result.clean_rate, result.robust_rate
    classified = f"Of {counted(result.n, 'sample')}, the model classifies {percent(clean.value)} right (95 % interval {interval(clean)})"
    if clean.of == 0:
        return f"{classified}: there was nothing to attack, and the robust accuracy is {percent(0.0)}."
    queries = result.manifest["queries"]
    limits = threat_words(result.manifest) + (f" and {counted(queries, 'forward')} per sample" if queries is not None else "")
    more = result.trust_broken
    counts = (
        f" {counted(more, 'sample')} that these left fell to the attacks of the trust checks, and {'is' if more == 1 else 'are'} counted."
    )
    return f"{classified}; {percent(robust.value)} ({interval(robust)}) withstood {_attacks(result)} within {limits}." + counts * (more > 0)


def _attacks(result: Result) -> str:
    """What the samples withstood."""
    entries, suite = result.manifest["attacks"], result.manifest["suite"]
    own = [entry["attack"].partition("(")[0] for entry in entries if not entry["curve"]]
    named = f"every attack of {suite}" if suite else listed(own) if len(own) <= 3 else f"all {len(own)} attacks"
    if not result.complete:
        named = f"what has been tried so far of {suite or listed(own)}"
    named += " and of the curve over radii" if len(own) < len(entries) else ""
    return named + (" and the attacks of the trust checks" if result.trust_broken else "")


def _worth(result: Result) -> str:
    if result.clean_rate.of == 0:
        return ""
    if result.robust_rate.of == 0:
        return "Nothing is left to break."
    return "This is an upper bound: an attack that was not made may break more."


def _search(result: Result) -> str:
    """How far the search has converged, and what was left out."""
    found = result.audit
    if found is None or result.clean_rate.of == 0 or result.robust_rate.of == 0:
        return ""
    state = "has converged" if found.depth.converged else "has not converged"
    words = (
        f"Search {state}: an estimated {found.remaining:.2g} samples would fall to more of it (95 %: at most {found.remaining_most:.2g})."
    )
    if not found.left_out:
        return words
    return f"{words} What was left out to save time would break at most {found.left_out:.2g} (95 %)."


def _numbers(result: Result) -> str:
    """Answers that were not numbers, where they are enough to make the robust accuracy meaningless."""
    found = next((check for check in result.checks if check.name == "finite" and check.status == "fail"), None)
    return "" if found is None else f"This number cannot be trusted: {found.evidence}."


def _unfinished(result: Result) -> str:
    if result.complete:
        return ""
    missing = result.manifest["data"]["samples"] - result.n
    ended = [label for label in result.labels if result.facts.get(label, {"complete": False})["complete"]]
    unfinished = result.records.filter(result.records["status"] == "unfinished")["sample"].n_unique()
    reasons = []
    if missing:
        reasons.append(f"{missing:,} of {counted(result.manifest['data']['samples'], 'sample')} missing")
    if len(ended) < len(result.labels):
        reasons.append(f"{len(ended)} of {counted(len(result.labels), 'attack')} ended")
    if unfinished:
        reasons.append(f"{counted(unfinished, 'sample')} not attacked to the end")
    return f"The run is not finished ({'; '.join(reasons)}), so these numbers are provisional."


def _doubts(result: Result) -> str:
    """The checks that did not pass; an unfinished run has its own sentence."""
    failed = [check.name for check in result.checks if check.status == "fail"]
    warned = [check.name for check in result.checks if check.status == "warn" and (check.name != "finished" or result.complete)]
    words = []
    if failed:
        words.append(f"Do not rely on this number: {_noun(failed)} failed.")
    if warned:
        words.append(f"Read it with care: {_noun(warned)} {'warns' if len(warned) == 1 else 'warn'}.")
    return " ".join(words)


def _noun(names: list[str]) -> str:
    quoted = listed([f"“{name}”" for name in names])
    return f"the trust check {quoted}" if len(names) == 1 else f"the trust checks {quoted}"
