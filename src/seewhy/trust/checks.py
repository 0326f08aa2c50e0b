"""Can this map be trusted? Five checks, each a number, a light and a sentence in plain words.

They grade one map of one photo on what the network took in (after resize and crop). What the lights
are worth is measured on scenes, see docs/trust.md.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from PIL import Image
from torch import Tensor, nn

from seewhy import metrics
from seewhy.core.choice import gradients_of
from seewhy.core.observing import graphs, named_modules, outputs_of, undisturbed
from seewhy.core.outputs import logits
from seewhy.core.requests import LayerLike, layer_names
from seewhy.draw import overlay
from seewhy.maps import finite, upsample
from seewhy.metrics.faithfulness import Curves
from seewhy.models import LoadedModel
from seewhy.models.loaded import check_score_per_class
from seewhy.naming import Method, parse
from seewhy.options import checking
from seewhy.trust.lights import THRESHOLDS, Light

BASELINES = {"random": "noise", "center_gaussian": "a blob in the centre", "edges": "edges"}
"""Methods that know nothing of the network, and what they are called in plain words."""

UNSEEN = 0.01  # a class with less probability is not seen, and no map can say where
DRAWS = 4  # of random layers: a single one may bring the same map about by luck

_PICTURE = 640  # pixels of the longer side


@dataclass(frozen=True, eq=False)
class Check:
    """The result of one check of a map.

    name: one of `CHECKS`.
    value: the value that the light depends on; None if the check does not apply.
    light: "green", "amber", "red", or "grey" if the check does not apply.
    sentence: the result in words.
    rule: what the value is, and the thresholds of the lights.
    curves: points to draw, by name; the first curve is the horizontal axis.
    picture: a picture that goes with the check, at most 640 pixels wide and high.
    """

    name: str
    value: float | None
    light: Light
    sentence: str
    rule: str
    curves: dict[str, list[float]] = field(default_factory=dict)
    picture: Image.Image | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """A map and what it is a map of.

    inputs: (1, C, h, w), as the network takes the photo. logits: (K,). saliency: (1, h, w).
    """

    model: LoadedModel
    photo: Image.Image
    method: Method
    layer: tuple[str, ...] | None
    steps: int
    inputs: Tensor
    logits: Tensor
    target: int
    saliency: Tensor

    @cached_property
    def probability(self) -> float:
        """The target's, on the photo."""
        return float(self.model.probabilities(self.logits)[self.target])

    @cached_property
    def curves(self) -> Curves:
        """Insertion and deletion of the map."""
        return self.sweep(self.saliency)

    @property
    def name(self) -> str:
        """The target's, in quotation marks."""
        return self.named(self.target)

    def named(self, index: int) -> str:
        """A class by its first synonym, in quotation marks."""
        return f"“{self.model.class_name(index).split(',')[0]}”"

    def score(self, images: Tensor, index: Tensor) -> Tensor:
        """The target's probability on pictures (N, C, h, w), (N,)."""
        if self.model.activation == "none":
            raise ValueError("the network gives plain numbers, not probabilities")
        ask = metrics.class_probability(self.model.module, [self.target], self.model.probabilities)
        scores = ask(images, torch.zeros_like(index))
        if not scores.isfinite().all():
            raise ValueError("on the changed pictures the network's probabilities are not finite")
        return scores

    def sweep(self, maps: Tensor) -> Curves:
        """Insertion and deletion of maps (N, h, w) of the photo."""
        inputs = self.inputs.expand(len(maps), -1, -1, -1)
        return metrics.insertion_deletion(self.score, inputs, maps, steps=self.steps)

    def explain(self, network: nn.Module, target: int, method: Method | None = None) -> Tensor:
        """The map (1, h, w) of a network for a class."""
        asked = replace(self.model, module=network)
        probe = asked.probe(self.inputs, self.model.target(target), self.layer)
        (maps,) = probe.maps([method or self.method])
        return upsample(maps.float(), probe.size)


@checking
def examine(
    model: LoadedModel,
    photo: Image.Image,
    method: str | Method,
    target: int | str | None = None,
    *,
    layer: LayerLike = None,
    steps: int = 16,
) -> Iterator[Check]:
    """Check a method's map of a photo: yields the checks of `CHECKS` as they are ready.

    The network is not changed, and other threads can use it at the same time. Costs about 8
    forward passes per step and five more maps of the method.

    photo: RGB, as `seewhy.load_image` returns it.
    target: None for the predicted class, a class index or name.
    layer: the layer for the CAM family, see `seewhy.explain`.
    steps: number of steps of insertion and deletion.

    Raises ValueError, before the first check, for unknown methods, classes and layers, a network
    without one score per class, and maps that are not finite.
    """
    case = case_of(model, photo, method, target, layer=layer, steps=steps)
    return (check(case, name) for name in CHECKS)


def case_of(
    model: LoadedModel,
    photo: Image.Image,
    method: str | Method,
    target: int | str | None = None,
    *,
    layer: LayerLike = None,
    steps: int = 16,
) -> Case:
    """The map to check; see `examine`."""
    parsed = parse(method)
    if steps < 4:
        raise ValueError(f"steps={steps}; give at least 4, so that a quarter of the map is one")
    wanted = None if target is None else model.class_index(target)
    layers = layer_names(model.module, layer)
    inputs = model.preprocess(photo)[None].to(model.device)
    check_score_per_class(model, outputs_of(model.module, inputs))
    probe = model.probe(inputs, model.target(wanted), layers).expect_for([parsed])
    logits = probe.logits[0]
    saliency = finite(upsample(parsed(probe).float(), probe.size))
    if wanted is None:
        (wanted,) = probe.target.classes  # type: ignore[attr-defined]  # what was predicted
    return Case(model, photo, parsed, layers, steps, inputs, logits, wanted, saliency)


def check(case: Case, name: str) -> Check:
    """One of `CHECKS`; its light is grey where it cannot be said."""
    rule = THRESHOLDS[name]

    def grey(sentence: str) -> Check:
        return Check(name, None, "grey", sentence, str(rule))

    if case.model.activation != "none" and case.probability < UNSEEN:
        return grey(
            f"The network does not recognise {case.name} here ({_percent(case.probability)}), so "
            "its map means little."
        )
    low, high = case.saliency.aminmax()
    if high - low <= 1e-6 * case.saliency.abs().max():  # but for rounding
        return grey("The map is constant: it marks nothing that can be checked.")
    try:
        found = _CHECKS[name](case)
    except (ValueError, TypeError, RuntimeError) as error:  # methods and networks are anyone's
        return grey(f"Not checked: {error}.")
    light = rule.light(found.value)
    sentence = f"{found.sentence} {found.verdicts[('green', 'amber', 'red').index(light)]}"
    return Check(name, found.value, light, sentence, str(rule), found.curves, found.picture)


@dataclass(frozen=True, eq=False)
class _Found:
    """What a check found; `verdicts` are those that go with a green, an amber and a red light."""

    value: float
    sentence: str
    verdicts: tuple[str, str, str]
    curves: dict[str, list[float]] = field(default_factory=dict)
    picture: Image.Image | None = None


def _insertion_deletion(case: Case) -> _Found:
    curves = case.curves
    quarter = round(case.steps / 4)
    kept, left = (
        _percent(float(scores[0, quarter]) / case.probability)
        for scores in (curves.insertion, curves.deletion)
    )
    return _Found(
        float(_scores(case, curves)[0]),
        f"Showing the network only the {_percent(float(curves.pixels[quarter]))} of the picture "
        f"that the map marks most, and the rest blurred, gives {kept} of its confidence in "
        f"{case.name}; hiding that part leaves {left}.",
        (
            "The map shows what the network uses.",
            "The map shows part of what the network uses.",
            "By this measure the map does not show what the network uses.",
        ),
        {
            "share of pixels": curves.pixels.tolist(),
            "insertion": curves.insertion[0].tolist(),
            "deletion": curves.deletion[0].tolist(),
        },
    )


def _confidence_drop(case: Case) -> _Found:
    # What speaks against the class is hidden; by its min-max, a signed map would show half of it.
    seen = metrics.confidences(case.score, case.inputs, case.saliency.clamp_min(0))
    before, after = float(seen.original), float(seen.masked)
    if _percent(before) == _percent(after):
        moves = f"stays at {_percent(before)}"
    else:
        verb = "rises" if after > before else "falls"
        moves = f"{verb} from {_percent(before)} to {_percent(after)}"
    return _Found(
        float(metrics.average_drop(*seen)),
        f"If everything that the map does not mark is dimmed, the confidence in {case.name} "
        f"{moves}.",
        (
            "What the map marks is enough for the network.",
            "What the map marks is only part of what the network needs.",
            "What the map marks is not enough for the network.",
        ),
    )


def _target_selectivity(case: Case) -> _Found:
    if len(case.logits) == 1:
        raise ValueError(
            "with a single output, the map of the other class is this map with its sign changed"
        )
    other = next(index for index in case.logits.topk(2).indices.tolist() if index != case.target)
    value = float(metrics.target_selectivity(case.saliency, case.explain(case.model.module, other)))
    number = float(case.model.probabilities(case.logits)[other])
    if case.model.activation == "none":
        which = f"highest other output, {case.named(other)} ({number:.4g})"
    else:
        which = f"most likely other class, {case.named(other)} ({_percent(number)})"
    return _Found(
        value,
        f"The map for the {which}, has a correlation of {value:z.2f} with this one (1: the same "
        "map, 0: unrelated).",
        (
            f"The map is specific to {case.name}.",
            f"Part of the map is not specific to {case.name}.",
            "The map hardly depends on the class, or the network recognises both classes by the "
            "same features.",
        ),
    )


def _randomised_layers(case: Case) -> _Found:
    network = case.model.module
    last = last_layers(case.model, case.inputs)
    maps: list[Tensor] = []

    def explain(one: nn.Module) -> Tensor:
        maps.append(case.saliency if one is network else finite(case.explain(one, case.target)))
        return maps[-1]

    cascades = [
        metrics.randomization_cascade(network, explain, [last], seed) for seed in range(DRAWS)
    ]
    draws = torch.cat([metrics.parameter_randomization(cascade) for cascade in cascades])
    value = float(draws.mean())
    return _Found(
        value,
        f"With random weights in the network's last layers{f' ({last})' if last else ''}, the map "
        f"has a rank correlation of {value:z.2f} with this one (1: the same map, 0: unrelated).",
        (
            "The map depends on the trained weights.",
            "Part of the map does not depend on the trained weights.",
            "The map hardly depends on the trained weights.",
        ),
        {"draw": [float(1 + seed) for seed in range(DRAWS)], "rank correlation": draws.tolist()},
        _picture(case, maps[-1]),
    )


def _blind_baselines(case: Case) -> _Found:
    methods = [parse(name) for name in BASELINES]
    maps = [case.explain(case.model.module, case.target, method) for method in methods]
    curves = case.sweep(torch.cat(maps))
    own, *blind = [*_scores(case, case.curves).tolist(), *_scores(case, curves).tolist()]
    others = ", ".join(
        f"{words} {score:z.2f}" for words, score in zip(BASELINES.values(), blind, strict=True)
    )
    return _Found(
        own - max(blind),
        f"Insertion minus deletion is {own:z.2f} for this map (at most 1), and for maps that do "
        f"not look at the network: {others}.",
        (
            "The map is better than all of these.",
            "The map is not clearly better than the best of these.",
            "One of these is clearly better.",
        ),
        {
            "share of pixels": curves.pixels.tolist(),
            "this map": case.curves.insertion[0].tolist(),
            **dict(zip(BASELINES.values(), curves.insertion.tolist(), strict=True)),
        },
    )


_CHECKS: dict[str, Callable[[Case], _Found]] = {
    "insertion and deletion": _insertion_deletion,
    "confidence drop": _confidence_drop,
    "target selectivity": _target_selectivity,
    "randomised layers": _randomised_layers,
    "blind baselines": _blind_baselines,
}

CHECKS: tuple[str, ...] = tuple(_CHECKS)
"""The checks' names, in order."""


def last_layers(model: LoadedModel, inputs: Tensor) -> str:
    """The name of the network's last part with parameters that count: "fc", "classifier", "head".

    A part that is alone in its module is looked into. The whole network goes by "". Parameters on
    which the scores do not depend, such as those of a head for training, do not count.

    Raises ValueError for a network without parameters.
    """
    used = _used(model, inputs)
    if not used:
        raise ValueError("the network has no parameters, so it has learned nothing")

    def learned(module: nn.Module) -> bool:
        return any(id(parameter) in used for parameter in module.parameters())

    path: list[str] = []
    parts = [("", model.module)]
    while len(parts) == 1:
        parts = [(name, part) for name, part in parts[0][1].named_children() if learned(part)]
        path += [name for name, _ in parts[-1:]]
    return ".".join(path)


def _used(model: LoadedModel, inputs: Tensor) -> set[int]:
    """The ids of the parameters on which the scores depend; of all where no gradient tells."""
    with graphs(), torch.enable_grad():
        clone, images = copy.deepcopy(model.module), inputs.clone()  # none of inference mode
        copies = list(clone.parameters())
        for parameter in copies:
            parameter.requires_grad_(parameter.is_floating_point() or parameter.is_complex())
        scores = undisturbed(named_modules(clone), lambda: logits(clone(images)))
        gradients = gradients_of(scores, copies)
    every = [id(parameter) for parameter in model.module.parameters()]
    used = {one for one, found in zip(every, gradients, strict=True) if found is not None}
    return used or set(every)


def _scores(case: Case, curves: Curves) -> Tensor:
    """Insertion minus deletion as a share of the confidence, (N,), in [-1, 1]."""
    return ((metrics.insertion(curves) - metrics.deletion(curves)) / case.probability).clamp(-1, 1)


def _picture(case: Case, saliency: Tensor) -> Image.Image:
    """A map (1, h, w) over the photo, which is made small."""
    photo = case.photo.copy()
    photo.thumbnail((_PICTURE, _PICTURE))
    laid, seen = case.model.preprocess.geometry(photo).input_to_original(saliency[0].cpu())
    return overlay(photo, laid, seen=seen, signed=bool((laid < 0).any()))


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else "under 1 %"
