"""Fooling images by evolution: MAP-Elites keeps the best image of every class, and breeds all of them from each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from holdfast.core.draw import Draw, row_key
from holdfast.core.errors import ConfigError, ModelError
from holdfast.core.expect import typed
from holdfast.core.rows import per_row
from holdfast.core.types import Access, Model
from holdfast.engine import Asker
from holdfast.engine.setting import Progress, Setting, fitted
from holdfast.synthesis.cppn import Cppn
from holdfast.synthesis.encodings import Direct, Encoding
from holdfast.synthesis.synthesised import Synthesised, admitted, chances, judged, wanted


@typed
def fooling_evolution(
    model: Model,
    shape: tuple[int, ...],
    classes: Sequence[int] | None = None,
    encoding: str = "cppn",
    population: int = 200,
    generations: int = 1000,
    confidence: float = 0.9999,
    setting: Setting = Setting(),
    watch: Callable[[Progress], None] = lambda progress: None,
) -> Synthesised:
    """Images that the model is sure of and nobody else recognises, bred by MAP-Elites from its probabilities alone.

    elite_c ← argmax p_c(x) over elite_c and the children;  a child: two random elites, crossed and mutated.

    Inputs: `shape` of one input, `[n, ...]` in the model's range without n; `encoding` `'cppn'` (regular patterns; images `[c, h, w]`
    only) or `'direct'` (one number a value; any shape); `population` children a generation. The elites of all classes breed; the
    search ends when every one of `classes` (all when None) has reached `confidence`, or after the last generation. `watch` is told
    of the generation and of the classes reached. The same seed gives the same images, however the model is asked.

    Raises ConfigError for numbers that make no sense, an unbounded range or inputs that cannot be drawn, ModelError for a model that
    answers nothing but NaN or is in training mode.
    Source: Nguyen, Yosinski & Clune 2015, sections 2.2 to 2.4, and the parameters of their code; Mouret & Clune 2015 (MAP-Elites); Deb
    2001 (mutation and crossover); Stanley 2007 (CPPN).
    Differs from the paper: x and y reach a CPPN as −1..1, not as pixel numbers; a CPPN has at most 24 hidden nodes; of the children of one
    generation that beat a class's elite only the best enters; hue, saturation and brightness as in the paper's text (its code has
    lightness). Crossover of direct genomes is in the authors' code alone.

    >>> from holdfast import Classifier
    >>> model = Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)).eval(), classes=3)
    >>> fooling_evolution(model, (1, 2, 2), population=8, generations=5).images.shape
    torch.Size([3, 1, 2, 2])
    """
    admitted(model, "fooling_evolution", Access.SCORE, generations, confidence)
    if population < 1:
        raise ConfigError(f"population={population}: at least one child a generation is needed")
    if not model.bounds.finite:
        raise ConfigError(f"evolution draws images between two ends, not in {model.bounds}: give Classifier(bounds=(low, high))")
    device, seed = model.device, setting.seed
    asker = Asker(fitted(setting, model).pieces)
    target = wanted(model, asker, shape, classes).to(device)
    code = _encoding(encoding, shape)
    individual = torch.arange(population)
    key = row_key(seed, individual, torch.zeros_like(individual)).to(device)
    children = code.random(Draw(key, torch.zeros_like(key)), model.dtype)
    elites, images = children, code.render(children)
    best = torch.full((model.classes,), -1.0, dtype=torch.float64, device=device)
    born = torch.zeros_like(best, dtype=torch.int64)
    for generation in range(generations):
        if generation:
            # A class without an elite, because the model never answered a number, has no parents to give.
            alive = (best >= 0).nonzero().squeeze(1)
            draw = Draw(key, torch.full_like(key, generation))
            parents = alive[draw.integer("parents", (2,), len(alive))]
            children = code.child(elites[parents[:, 0]], elites[parents[:, 1]], draw, generation)
        low, high = model.bounds.pair(shown := code.render(children))
        points = model.bounds.clamp(low + (high - low) * shown)
        top, place = chances(model, asker, points, seed, generation + 1).max(dim=0)
        if not generation:
            elites, images = children[place], points[place]
        better = top > best
        elites, images = children[place].where(better, elites), torch.where(per_row(better, points), points[place], images)
        best, born = torch.where(better, top, best), born.masked_fill(better, generation)
        if not bool((best >= 0).any()):
            raise ModelError(f"the model answers NaN to all {population} random images: check its weights and normalisation")
        reached = int((best[target] >= confidence).sum())
        watch(Progress(generation + 1, generations, reached))
        if reached == len(target):
            break
    born = born[target]
    return judged(model, asker, images[target], target, born, (born + 1) * population, confidence, seed)


def _encoding(name: str, shape: tuple[int, ...]) -> Encoding:
    if name == "direct":
        return Direct(shape)
    if name != "cppn":
        raise ConfigError(f"encoding={name!r} is unknown: choose 'cppn' or 'direct'")
    if len(shape) != 3:
        raise ConfigError(f"encoding='cppn' draws images [c, h, w], not inputs of shape {shape}: choose 'direct'")
    return Cppn(shape)
