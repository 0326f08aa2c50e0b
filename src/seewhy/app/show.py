"""Parts of the page as HTML: bars, checks with their lights, curves. Pure functions."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from PIL import Image

from seewhy.app.question import png
from seewhy.draw.charts import Axis, points
from seewhy.naming import DEFAULT_METHOD, METHODS, list_methods
from seewhy.trust import Check, Effect

INKS = ("#2563eb", "#d97706", "#64748b", "#7c3aed", "#0d9488")
LIGHTS = {"green": "trusted", "amber": "doubtful", "red": "not trusted", "grey": "cannot be said"}
WIDTH, HEIGHT = 260, 120  # of a plot


def percent(probability: float) -> str:
    """A probability for the eye: 87.1 %, <0.1 %."""
    return f"{100 * probability:.1f} %" if probability >= 0.0005 else "<0.1 %"


def predictions(top: Iterable[tuple[int, str, float]], network: str) -> str:
    """The likeliest classes as bars."""
    rows = "".join(
        f'<div class="bar"><span>{escape(name)}</span>'
        f'<i><b style="width:{100 * probability:.2f}%"></b></i>'
        f"<em>{percent(probability)}</em></div>"
        for _, name, probability in top
    )
    return f'<div class="bars"><h4>{escape(network)} sees</h4>{rows}</div>'


START_WITH = (DEFAULT_METHOD, "auto", "tsgb", "global_guidance")
BASELINES = ("random", "center_gaussian", "edges")
"""Methods that know nothing of the network."""


def groups() -> dict[str, list[str]]:
    """All methods by what they are for."""
    named = {*START_WITH, *BASELINES}
    return {
        "Start with these": list(dict.fromkeys(START_WITH)),
        "All others": [name for name in list_methods() if name not in named],
        "Baselines, which know nothing of the network": list(BASELINES),
    }


def methods() -> str:
    """What each method does and costs, as a table that a click opens."""
    rows = "".join(
        f'<tr><th colspan="3">{escape(title)}</th></tr>'
        + "".join(
            f"<tr><td><code>{name}</code></td><td>{escape(METHODS[name].summary)}</td>"
            f"<td>{escape(METHODS[name].passes)}</td></tr>"
            for name in names
        )
        for title, names in groups().items()
    )
    return (
        "<details><summary>What the methods do, and what they cost</summary>"
        "<p>F is a pass through the network, B one back through it, h one back to the layer alone, "
        f"K the channels there.</p><table>{rows}</table></details>"
    )


def changes(effects: Sequence[Effect], hidden: Image.Image, share: float) -> str:
    """Probabilities before and after, the photo with its part hidden, and how large that is."""
    rows = "".join(
        f'<div class="bar two"><span>{escape(one.name)}</span>'
        f'<i><b style="width:{100 * one.before:.2f}%"></b></i>'
        f'<i><b class="after" style="width:{100 * one.after:.2f}%"></b></i>'
        f"<em>{percent(one.before)} → {percent(one.after)}</em></div>"
        for one in effects
    )
    return (
        f'<div class="bars"><h4>With {100 * share:.0f} % of the photo hidden</h4>'
        f'<p class="key"><b></b> before <b class="after"></b> after</p>{rows}'
        f"{picture(hidden, 'The photo as the network was asked')}</div>"
    )


def picture(image: Image.Image, caption: str) -> str:
    """An image within the page."""
    source = b64encode(png(image)).decode()
    return f'<img alt="{escape(caption)}" src="data:image/png;base64,{source}">'


def checks(done: Sequence[Check], of: int, about: str, caution: str) -> str:
    """The checks so far as cards, out of so many, of the map that `about` names.

    caution: a sentence above them; "" for none.
    """
    cards = "".join(card(one) for one in done)
    waiting = "".join('<div class="card waiting"></div>' for _ in range(of - len(done)))
    warned = f'<p class="caution">{escape(caution)}</p>' if caution else ""
    return f'<div class="checks"><h4>{escape(about)}</h4>{warned}{cards}{waiting}</div>'


def card(check: Check) -> str:
    """One check: its light, what was found, and the rule."""
    image = "" if check.picture is None else picture(check.picture, check.name)
    return (
        f'<div class="card {check.light}"><div class="what">'
        f'<h5><b role="img" aria-label="{check.light}" title="{LIGHTS[check.light]}"></b>'
        f"{escape(check.name.capitalize())}<em>{check.light}</em></h5>"
        f"<p>{escape(check.sentence)}</p><small>{escape(check.rule)}</small></div>"
        f'<div class="shown">{plot(check.curves)}{image}</div></div>'
    )


def plot(curves: Mapping[str, Sequence[float]]) -> str:
    """Curves over the first of them as a small drawing, with a legend; nothing without curves."""
    if len(curves) < 2:
        return ""
    (axis, at), *lines = curves.items()
    values = [value for _, line in lines for value in line]
    low, high = min(0.0, *values), max(1.0, *values)
    x, y = Axis(at[0], at[-1], 30, WIDTH - 10), Axis(low, high, HEIGHT - 22, 8)

    paths = "".join(
        f'<polyline points="{points(x, y, zip(at, line, strict=True))}" stroke="{ink}"/>'
        for (_, line), ink in zip(lines, INKS, strict=False)
    )
    grid = "".join(
        f'<polyline class="grid" points="{points(x, y, ((at[0], tick), (at[-1], tick)))}"/>'
        f'<text x="26" y="{y(tick) + 3:.1f}" text-anchor="end">{tick:g}</text>'
        for tick in (0, 0.5, 1)
    )
    key = "".join(
        f'<span style="color:{ink}">{escape(name)}</span>'
        for (name, _), ink in zip(lines, INKS, strict=False)
    )
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(", ".join(name for name, _ in lines))}">{grid}{paths}'
        f'<text x="{WIDTH - 10}" y="{HEIGHT - 6}" text-anchor="end">{escape(axis)}</text></svg>'
        f"<figcaption>{key}</figcaption></figure>"
    )
