"""What was run: everything that makes a number one that can be made again."""

from __future__ import annotations

from typing import Any

from holdfast.attacks.short import parse
from holdfast.core.errors import ConfigError
from holdfast.evaluation import CONVERGE, Result
from holdfast.report.verdict import threat_words

PUBLIC = ("Linf", "L2", "L1", "L0")


def provenance(result: Result) -> list[tuple[str, str]]:
    """Names and values, in the order they are read."""
    manifest = result.manifest
    model, data, once = manifest["model"], manifest["data"], manifest["once"]
    spread = "" if model["mean"] is None else f"; mean {model['mean']}, std {model['std']}"
    stochastic = "; stochastic" if model["stochastic"] else ""
    effort = f" at {manifest['effort']:g} times its effort" if manifest["effort"] != 1 else ""
    shards = manifest["shards"]
    facts = [
        ("Threat", threat_words(manifest)),
        ("Suite", f"{manifest['suite']}{effort}" if manifest["suite"] else "none: attacks of one's own"),
        ("Seed", str(manifest["seed"])),
        ("Budget", "no limit" if manifest["queries"] is None else f"{manifest['queries']:,} forwards per sample"),
        ("Model", f"{model['classes']} classes; range {model['low']} to {model['high']}{spread}; {model['dtype']}{stochastic}"),
        ("Model fingerprint", model["fingerprint"]),
        ("Data", f"{data['name']}; {data['samples']:,} samples"),
        ("Data fingerprint", data["fingerprint"]),
        ("Shards", f"{len(result.parts)} of {shards}"),
        ("What the search asked", once["choice"]["why"]),
        ("Made with", _words(once["made"])),
        ("Schema", str(manifest["schema"])),
    ]
    return [(name, str(value)) for name, value in facts]


def command(result: Result) -> str | None:
    """The call that makes the run again, given the model and the data; None where the plan cannot be written in short form.

    Every attack is read back from its short form and held against its expanded form before it is quoted.
    """
    manifest = result.manifest
    threat, entries = manifest["threat"], [entry for entry in manifest["attacks"] if not entry["curve"]]
    if threat["norm"] not in PUBLIC or not all(manifest["suite"] or _readable(entry, manifest["model"]["classes"]) for entry in entries):
        return None
    radius = "float('inf')" if threat["radius"] is None else repr(threat["radius"])
    words = [f"{threat['norm']}({radius})"]
    words.append(f"suite={manifest['suite']!r}" if manifest["suite"] else f"attacks={[entry['attack'] for entry in entries]!r}")
    words += [f"effort={manifest['effort']!r}"] if manifest["effort"] != 1 else []
    words += [f"converge={manifest['converge']!r}"] if manifest.get("converge") not in (None, CONVERGE) else []
    words += [f"radii={entry['radii']!r}" for entry in manifest["attacks"] if entry["curve"]]
    if manifest["queries"] is not None:
        words.append(f"budget=Budget(queries={manifest['queries']})")
    imports = ", ".join(["Budget"] * (manifest["queries"] is not None) + [threat["norm"], "evaluate"])
    body = "".join(f"    {word},\n" for word in ["model", "data", *words, f"seed={manifest['seed']}"])
    return f"from holdfast import {imports}\n\nresult = evaluate(\n{body})"


def _readable(entry: dict[str, Any], classes: int) -> bool:
    try:
        return repr(parse(entry["attack"]).fitted(classes)) == str(entry["expanded"])
    except ConfigError:
        return False


def _words(found: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in found.items() if value is not None) or "as it is"
