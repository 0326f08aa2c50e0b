"""What the numbers say, in sentences; no claim goes beyond a paired test."""

from collections.abc import Iterable, Sequence

from seewhy import metrics as m
from seewhy.bench.progress import count
from seewhy.bench.report.cell import Cell, metrics_in
from seewhy.evaluation.statistics import ALPHA, UNITS
from seewhy.metrics import metric as metric_of
from seewhy.metrics.localization import pointing_game_on_photo

MEANINGS = {
    pointing_game_on_photo: "How often the map's highest point lies on the object.",
    m.energy_pointing_game: "How much of the map lies on the object.",
    m.grid_pointing: "Of four photos in a grid, how much of the map lies in the right one.",
    m.mass_accuracy: "How much of the map lies within the object's outline.",
    m.rank_accuracy: "How many of the map's highest pixels lie within the object's outline.",
    m.iou: "How well the map's bright part covers the object and nothing else.",
    m.box_iou: "How well a box around the map's bright part fits the object's box.",
    m.average_drop: "How much confidence is lost if the network sees only what the map shows.",
    m.half_drop: "How much confidence is lost if the network sees only the map's brighter half.",
    m.increase: "How often the confidence rises if the network sees only what the map shows.",
    m.win: "How often a method's map keeps more of the confidence than another method's.",
    m.average_gain: "How much the confidence rises if the network sees only what the map shows.",
    m.insertion: "How fast confidence rises as pixels are inserted, the map's highest first.",
    m.deletion: "How long confidence stays as pixels are deleted, the map's highest first.",
    m.road: "How much more confidence the map's highest pixels are worth than its lowest.",
    m.road_most_first: "The confidence that remains when the map's highest pixels are removed.",
    m.road_least_first: "The confidence that remains when the map's lowest pixels are removed.",
    m.single_deletion: "Whether the map ranks patches by the confidence that is lost without them.",
    m.effect_correlation: "Whether the map ranks objects by their true effect on the score.",
    m.coherency: "How little the map changes if the network sees only what the map shows.",
    m.complexity: "How much of the photo the map marks.",
    m.adcc: "Coherency, simplicity and kept confidence in one number.",
    m.gini: "How concentrated the map is, whether or not it is right.",
    m.entropy: "How spread out the map is, whether or not it is right.",
    m.max_sensitivity: "How much the map changes under barely visible noise.",
    m.infidelity: "How badly the map predicts how changes of the photo change the score.",
    m.parameter_randomization: "How similar the map stays when the weights are randomised.",
    m.target_selectivity: "How similar the maps for two different classes are.",
}
"""What our metrics' functions measure, for someone who meets them for the first time."""


def listed(words: Iterable[str]) -> str:
    """Such as "a, b and c"."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def plain(metric: str) -> str:
    """A metric's name for the eye."""
    return metric.replace("_", " ")


def better(metric: str) -> str:
    """Which direction of a metric is the good one."""
    return "higher" if metric_of(metric).higher_is_better else "lower"


def arrow(metric: str) -> str:
    """The same as a sign."""
    return "↑" if metric_of(metric).higher_is_better else "↓"


def meaning(metric: str) -> str:
    """What a metric measures, in one sentence."""
    about = metric_of(metric)
    return MEANINGS.get(about.function, about.summary.partition(", (B")[0].rstrip(".") + ".")


def figure(value: float) -> str:
    """A metric's value; "–" for nan."""
    return "–" if value != value else f"{value:.3f}"


def interval(low: float, high: float) -> str:
    """An interval; a single image has none."""
    return "one image" if low != low else f"{figure(low)} – {figure(high)}"


def signed(value: float) -> str:
    """A difference with its sign, a true minus; 0 where it is 0."""
    return f"{value:+.3f}".replace("-", "−") if value else "0"


def between(low: float, high: float) -> str:
    """The interval of a difference; a single image has none."""
    return "one image" if low != low else f"{signed(low)} to {signed(high)}"


def chance(p: float) -> str:
    """A p value."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.9995 else "p = 1"


def asked(cells: Sequence[Cell]) -> str:
    """What was run, in one sentence."""
    networks = list(dict.fromkeys(cell.network for cell in cells))
    datasets = list(dict.fromkeys(cell.dataset for cell in cells))
    methods = {method for cell in cells for method in cell.methods}
    images = graded = 0
    for name in datasets:
        own = [cell.evaluation for cell in cells if cell.dataset == name]
        images += max(one.images for one in own)
        graded += max(one.values.graded for one in own)
    metrics = count(len(metrics_in(cells)), "metric")
    some = f"{graded:,} of " if graded < images else ""
    return (
        f"{count(len(methods), 'method')}, measured by {metrics} on "
        f"{some}{count(images, 'image')} of {listed(datasets)}, with {listed(networks)}."
    )


def findings(cells: Sequence[Cell]) -> dict[str, str]:
    """What came out by each metric."""
    return {
        name: outcome(cells[0], name) if len(cells) == 1 else _of_many(cells, name)
        for name in metrics_in(cells)
    }


def outcome(cell: Cell, metric: str) -> str:
    """Which method is best by a metric, and which are not significantly worse, with the images."""
    best, *others = cell.ranked(metric)
    undecided = cell.undecided(metric)
    if not others:
        on = count(cell.summaries[metric, best].images, "image")
        return f"{best} is the only method with values ({on})."
    on = f"({count(cell.compared(metric), 'image')})"
    if ahead := cell.ahead(metric):
        return (
            f"{best} has the best mean over pairs of image and class, but {listed(ahead)} is "
            f"significantly better in the paired test over images {on}."
        )
    if not undecided:
        all_others = others[0] if len(others) == 1 else f"each of the {len(others)} other methods"
        return f"{best} is significantly better than {all_others} {on}."
    few = f" {why}" if (why := hopeless(cell, metric)) else ""
    if len(others) == 1:
        return f"No significant difference between {best} and {undecided[0]} {on}.{few}"
    if len(undecided) == len(others):
        return f"{best} has the best mean; no other method differs significantly {on}.{few}"
    beaten = len(others) - len(undecided)
    return (
        f"{best} has the best mean. No significant difference from {listed(undecided)} {on}; "
        f"significantly better than the other {beaten if beaten > 1 else 'one'}."
    )


def hopeless(cell: Cell, metric: str) -> str:
    """Why no difference by a metric can be significant, whatever the values; "" if one can."""
    if (least := cell.attainable(metric)) < ALPHA:
        return ""
    several = cell.attainable(metric, UNITS) >= ALPHA
    on = "Among so many methods" if several else "On so few images"
    return f"{on} no difference can be significant: p is {least:.3f} or more."


def _of_many(cells: Sequence[Cell], metric: str) -> str:
    own = [cell for cell in cells if metric in cell.metrics]
    leads: dict[str, list[Cell]] = {}
    for cell in own:
        leads.setdefault(cell.ranked(metric)[0], []).append(cell)
    said = []
    for method, led in sorted(leads.items(), key=lambda one: -len(one[1])):
        alone = sum(len(cell.beaten(metric)) == len(cell.ranked(metric)) - 1 for cell in led)
        how = "significantly better than every other method"
        if not alone:
            how = f"not {how}"
        elif alone < len(led):
            how = f"{how} in {alone}"
        elif alone > 1:
            how = f"each time {how}"
        said.append(f"{method} in {len(led)} of {len(own)} ({how})")
    fewest = min(max(1, cell.compared(metric)) for cell in own)
    return f"Best mean: {listed(said)}; {count(fewest, 'image')} or more each."


def missing(cell: Cell) -> list[str]:
    """What a cell has no values of, in sentences: images, methods and metrics."""
    values = cell.evaluation.values
    said = []
    if values.graded < cell.evaluation.images:
        said.append(
            f"{count(cell.evaluation.images - values.graded, 'image')} of "
            f"{cell.evaluation.images:,} have no values at all."
        )
    if without := [method for method in cell.methods if method not in values.methods]:
        said.append(f"No values for {listed(without)}.")
    for name in cell.metrics:
        images = {cell.summaries[name, method].images for method in cell.ranked(name)}
        if max(images) < values.graded or len(images) > 1:
            few = str(max(images)) if len(images) == 1 else f"{min(images):,} to {max(images):,}"
            said.append(f"{plain(name).capitalize()} has values for only {few} images.")
    return said
