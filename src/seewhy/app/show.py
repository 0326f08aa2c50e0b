"""Parts of the page as HTML: bars, checks with their lights, curves. Pure functions."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from seewhy.app.query import png
from seewhy.draw.charts import Axis, points
from seewhy.draw.page import part
from seewhy.explanation import percent
from seewhy.naming import DEFAULT_METHOD, METHODS, list_methods
from seewhy.photos import Answer
from seewhy.trust import CHECKS, Check, Effect
from seewhy.trust.checks import BASELINES

LIGHTS = {
    "green": "speaks for the map",
    "amber": "doubtful",
    "red": "speaks against the map",
    "grey": "cannot be said",
}
WIDTH, HEIGHT = 260, 120  # of a plot


def plain(value: float) -> str:
    """A number that is no probability, such as a logit."""
    return f"{value:.4g}"


def predictions(answer: Answer, network: str) -> str:
    """The likeliest classes as bars; without them where there are no probabilities."""
    written = plain if answer.measure == "value" else percent
    return _viewers("predictions", answer.top, network, written)


START_WITH = (DEFAULT_METHOD, "auto", "tsgb", "global_guidance")


def groups() -> dict[str, list[str]]:
    """All methods by what they are for."""
    named = {*START_WITH, *BASELINES}
    return {
        "Start with these": list(dict.fromkeys(START_WITH)),
        "All others": [name for name in list_methods() if name not in named],
        "Baselines, which do not use the network": list(BASELINES),
    }


def methods() -> str:
    """What each method does and costs, as a table that a click opens."""
    named = [(title, [(name, METHODS[name]) for name in own]) for title, own in groups().items()]
    return _viewers("methods", named)


def changes(effects: Sequence[Effect], hidden: Image.Image, share: float, *, values: bool) -> str:
    """Probabilities before and after, the photo with its part hidden, and how large that is.

    values: the numbers are no probabilities.
    """
    return _viewers("changes", effects, hidden, share, plain if values else percent)


def checks(done: Sequence[Check], about: str, caution: str) -> str:
    """The checks so far as cards, and those to come, of the map that `about` names.

    caution: a sentence above them; "" for none.
    """
    cards = [(one, plot(one.curves)) for one in done]
    return _viewers("checks", cards, len(CHECKS) - len(done), about, caution, LIGHTS)


def plot(curves: Mapping[str, Sequence[float]]) -> dict[str, Any] | None:
    """Where curves over the first of them lie in a small drawing; None without curves."""
    if len(curves) < 2:
        return None
    (axis, at), *lines = curves.items()
    values = [value for _, line in lines for value in line]
    low, high = min(0.0, *values), max(1.0, *values)
    x, y = Axis(at[0], at[-1], 30, WIDTH - 10), Axis(low, high, HEIGHT - 22, 8)
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "axis": axis,
        "grid": [
            (tick, y(tick), points(x, y, ((at[0], tick), (at[-1], tick)))) for tick in (0, 0.5, 1)
        ],
        "lines": [(name, points(x, y, zip(at, line, strict=True))) for name, line in lines],
    }


def _viewers(name: str, *values: Any) -> str:
    """A part of the viewer, made by its template."""
    return part("viewer.html", name, *values, percent=percent, png=_address)


def _address(image: Image.Image) -> str:
    return f"data:image/png;base64,{b64encode(png(image)).decode()}"
