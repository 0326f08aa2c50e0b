"""From a plan of elements to pixels.

A plan holds everything that is random, drawn per element from its own seed, so that leaving one
out, or exchanging it, shifts nothing else. Geometry is in units of the picture's side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from seewhy.data.scenes.backgrounds import Array, background, byte, grid, mix, noise, step
from seewhy.data.scenes.objects import CATEGORIES, DISTRACTORS, DRAW, Paint, Part

MIN_VISIBLE = 0.6
"""Share of every labelled object's silhouette that the plan leaves in sight."""

_PLAN = 64  # side of the coarse grid on which overlaps are settled
_MARGIN = 12


@dataclass(frozen=True, eq=False)
class Element:
    """One thing in a scene: what it is, its colours and its pose."""

    kind: str
    seed: int
    paint: Paint
    x: float
    y: float
    radius: float
    angle: float
    flip: bool
    shape: tuple[Part, ...]

    @property
    def labelled(self) -> bool:
        """Whether it is an object rather than a distractor."""
        return self.kind in CATEGORIES

    def placed(self) -> list[NDArray[np.float64]]:
        """The paths of its parts, in units of the picture's side."""
        c, s = np.cos(self.angle), np.sin(self.angle)
        turn = np.array([[c, s], [-s, c]]) * self.radius
        if self.flip:
            turn[0] *= -1
        return [part.path @ turn + (self.x, self.y) for part in self.shape]

    def as_kind(self, kind: str) -> Element:
        """Another thing in the same place, pose and colours."""
        return replace(self, kind=kind, shape=_shape(kind, self.seed, self.paint))


@dataclass(frozen=True, eq=False)
class Composition:
    """A scene before it is drawn: elements from back to front, ground and light."""

    elements: tuple[Element, ...]
    palette: Array
    ground: int
    ground_palette: Array
    light: tuple[float, float]
    glow: float
    grain: int


class Drawing(NamedTuple):
    """A drawn plan. `masks` and `touched` have one (size, size) bool per labelled object."""

    image: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    touched: NDArray[np.bool_]


def _shape(kind: str, seed: int, paint: Paint) -> tuple[Part, ...]:
    """The parts of a thing, centred and scaled into the unit circle."""
    parts = tuple(DRAW[kind](np.random.default_rng(seed), paint))
    every = np.concatenate([part.path for part in parts if part.colour is not None])
    centre = (every.min(axis=0) + every.max(axis=0)) / 2
    scale = 1 / np.sqrt(((every - centre) ** 2).sum(axis=1).max())
    return tuple(part._replace(path=(part.path - centre) * scale) for part in parts)


def _rgb(lightness: Array, chroma: Array, hue: Array) -> Array:
    """OKLCH (Ottosson 2020) to sRGB in 0-1; hue in degrees."""
    a, b = chroma * np.cos(np.deg2rad(hue)), chroma * np.sin(np.deg2rad(hue))
    cone = np.stack(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ]
    )
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip(to_linear @ cone**3, 0, 1)
    srgb = np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    colours: Array = srgb.T.astype(np.float32)
    return colours


_HARMONIES = np.array(
    [
        [0, 25, 50, -25, 180, 200],
        [0, 30, 120, 150, 240, 265],
        [0, 20, 155, 180, 205, -20],
        [0, 40, 80, 120, 200, -40],
        [0, 15, 30, 180, 190, 90],
    ]
)


def palette(seed: int) -> Array:
    """Eight colours that go together, (8, 3): six of any hue, a dark one and a light one."""
    rng = np.random.default_rng(seed)
    base = rng.choice([30.0, 60.0, 90.0, 180.0, 240.0, 330.0]) + rng.uniform(-25, 25)
    hue = base + _HARMONIES[rng.integers(len(_HARMONIES))] + rng.uniform(-8, 8, 6)
    lightness = rng.permutation(np.linspace(0.46, 0.88, 6)) + rng.uniform(-0.03, 0.03, 6)
    chroma = rng.uniform(0.05, 0.16, 6)
    tone = (base + rng.uniform(-30, 30, 2)).tolist()
    return _rgb(
        np.append(lightness, [rng.uniform(0.22, 0.32), rng.uniform(0.9, 0.96)]),
        np.append(chroma, [0.04, 0.03]),
        np.append(hue, [tone[0], 85.0]),
    )


def _element(rng: np.random.Generator, kind: str, colours: Array, radius: float) -> Element:
    chosen = colours[[*rng.permutation(6)[:3], 6, 7]].tolist()
    paint = Paint(*(tuple(colour) for colour in chosen))
    seed = int(rng.integers(2**63))
    turn = np.deg2rad(rng.uniform(-28, 28)) if kind in CATEGORIES else rng.uniform(0, 2 * np.pi)
    flip = bool(rng.random() < 0.5)
    shape = _shape(kind, seed, paint)
    return Element(kind, seed, paint, 0.5, 0.5, radius, float(turn), flip, shape)


def _silhouette(element: Element) -> NDArray[np.bool_]:
    """Where the element is, on the coarse grid of the plan with a margin around the picture."""
    side = _PLAN + 2 * _MARGIN
    image = Image.new("1", (side, side))
    pen = ImageDraw.Draw(image)
    for part, path in zip(element.shape, element.placed(), strict=True):
        if part.edge or part.colour is None:
            pen.polygon((path * _PLAN + _MARGIN).ravel().tolist(), fill=part.colour is not None)
    return np.asarray(image)


def composition(seed: int, index: int) -> Composition:
    """The scene of that index: a pure function of the two numbers."""
    rng = np.random.default_rng([seed, index])
    colours = palette(int(rng.integers(2**63)))
    objects = int(rng.integers(1, 5))
    roomy = rng.uniform(MIN_VISIBLE, 1.0)
    behind, before = int(rng.integers(2, 5)), int(rng.integers(0, 3))
    kinds: list[tuple[str, float]] = []
    for group, count, low, high in (
        (DISTRACTORS, behind, 0.04, 0.14),
        (CATEGORIES, objects, 0.16, 0.28),
        (DISTRACTORS, before, 0.03, 0.09),
    ):
        for _ in range(count):
            kinds.append((group[int(rng.integers(len(group)))], rng.uniform(low, high)))
    seeds = rng.integers(2**63, size=len(kinds))

    frame = np.zeros((_PLAN + 2 * _MARGIN,) * 2, bool)
    frame[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN] = True
    elements: list[Element] = []
    seen: list[tuple[NDArray[np.bool_], float]] = []  # visible part, whole area of each object
    for (kind, radius), sub_seed in zip(kinds, seeds, strict=True):
        own = np.random.default_rng(int(sub_seed))
        made = _element(own, kind, colours, radius)
        for attempt in range(30):
            # The tries grow less choosy and smaller, so that a full picture takes its last object.
            enough = max(MIN_VISIBLE, roomy - 0.02 * attempt) + 0.05
            r = radius * (1 - 0.012 * attempt)
            inset = 0.85 * r if made.labelled else 0.0
            x, y = own.uniform(inset, 1 - inset, 2)
            candidate = replace(made, x=float(x), y=float(y), radius=r)
            outline = _silhouette(candidate)
            left = [(visible & ~outline, whole) for visible, whole in seen]
            shares = [np.count_nonzero(visible) / whole for visible, whole in left]
            if min(shares, default=1.0) >= min(enough, 1.0):
                elements.append(candidate)
                seen = left
                if made.labelled:
                    seen.append((outline & frame, float(np.count_nonzero(outline))))
                break
    toward = np.deg2rad(rng.uniform(-150, -30))
    return Composition(
        tuple(elements),
        colours,
        int(rng.integers(2**63)),
        colours,
        (float(np.cos(toward)), float(np.sin(toward))),
        float(rng.uniform(0.1, 0.4)),
        int(rng.integers(2**63)),
    )


class _Stamp(NamedTuple):
    """An element in its own window: premultiplied colour, coverage, and the shadow it casts."""

    left: int
    top: int
    colour: Array
    alpha: Array
    shadow: Array


def _weave(
    element: Element, rng: np.random.Generator, left: int, top: int, n: int, size: int
) -> Array | None:
    """The pattern of an element's body in 0-1, (n, n), turned and scaled with the element.

    None where the body is plain.
    """
    t = (np.arange(n, dtype=np.float32) + 0.5) / size
    x = (t + left / size - element.x)[None, :] / element.radius
    y = (t + top / size - element.y)[:, None] / element.radius
    a = element.angle + (0.0, np.pi / 2, np.pi / 4, rng.uniform(0, np.pi))[int(rng.integers(4))]
    c, s = float(np.cos(a)), float(np.sin(a))
    u, v = x * c + y * s, y * c - x * s
    u, v = u + rng.random(), v + rng.random()
    count, kind = rng.uniform(1.2, 2.6), rng.random()
    soft = 0.5
    if kind < 0.45:
        return None
    if kind < 0.62:
        wave = np.sin(2 * np.pi * count * u) - rng.uniform(0, 0.5)
    elif kind < 0.78:
        cell = 1.4 * count
        wave = rng.uniform(0.2, 0.3) - np.hypot(u * cell % 1 - 0.5, v * cell % 1 - 0.5)
        soft = 0.18
    elif kind < 0.88:
        wave = np.sin(2 * np.pi * count * u) * np.sin(2 * np.pi * count * v)
    else:
        wave = np.sin(2 * np.pi * count * (u + 0.12 * np.sin(2 * np.pi * count * v)))
    return step(wave, soft).astype(np.float32)


def _stamp(element: Element, size: int, light: tuple[float, float]) -> _Stamp:
    fine = 3 if size <= 256 else 2
    rng = np.random.default_rng([element.seed, 1])
    reach = element.radius * size
    blur, offset = 0.05 * size * (0.3 + element.radius), 0.11 * reach
    pad = int(np.ceil(offset + 2.5 * blur)) + 2
    core = 2 * (int(np.ceil(reach)) + 2)
    left, top = (int(np.floor(c * size)) - core // 2 for c in (element.x, element.y))

    image = Image.new("RGBA", (core * fine, core * fine))
    body = Image.new("L", (core * fine, core * fine))
    pen, mark = ImageDraw.Draw(image), ImageDraw.Draw(body)
    line = max(1, round(0.0075 * size * fine))
    for part, path in zip(element.shape, element.placed(), strict=True):
        points = ((path * size - (left, top)) * fine - 0.5).ravel().tolist()
        if part.colour is None:
            pen.polygon(points, fill=(0, 0, 0, 0))
            pen.line(points + points[:2], fill=byte(element.paint.body, 0.5), width=line)
            continue
        pen.polygon(points, fill=byte(part.colour))
        mark.polygon(points, fill=255 * part.patterned)
        if part.edge:
            pen.line(points + points[:2], fill=byte(part.colour, 0.5), width=line)
            mark.line(points + points[:2], fill=0, width=line)
    small: Array = np.asarray(image.convert("RGBa").reduce(fine), dtype=np.float32) / 255
    colour: Array = small[..., :3]
    alpha = small[..., 3]

    pattern = _weave(element, rng, left, top, core, size)
    woven = np.array((element.paint.second, element.paint.third)[int(rng.integers(2))], np.float32)
    if pattern is not None:
        pattern = pattern * np.asarray(body.reduce(fine), dtype=np.float32) / 255
        colour = mix(colour, woven * alpha[..., None], 0.85 * pattern)

    # The silhouette, blurred, is a cushion: its slope against the light models the form.
    cover = Image.fromarray((alpha * 255 + 0.5).astype(np.uint8))
    sigma = 0.14 * reach
    height = np.asarray(cover.filter(ImageFilter.GaussianBlur(sigma)), dtype=np.float32) / 255
    slope_y, slope_x = np.gradient(height)
    facing = -(slope_x * light[0] + slope_y * light[1]) * sigma
    t = (np.arange(core, dtype=np.float32) + 0.5 - core / 2) / reach
    across = t[None, :] * light[0] + t[:, None] * light[1]
    tooth = noise(rng, core, scale=core / size * 1.5, roughness=1.2)
    shade = 0.97 + 0.12 * across + 0.9 * facing + 0.22 * (tooth - 0.5)
    gloss = np.clip(facing - 0.12, 0, 1) * rng.uniform(0.0, 1.2)
    colour = np.clip(colour * shade[..., None] + (gloss * alpha)[..., None], 0, alpha[..., None])

    dx, dy = round(-light[0] * offset), round(-light[1] * offset)
    fallen = Image.new("L", (core + 2 * pad, core + 2 * pad))
    fallen.paste(cover, (pad + dx, pad + dy))
    shadow = np.asarray(fallen.filter(ImageFilter.GaussianBlur(blur)), dtype=np.float32) / 255
    framed = np.pad(colour, ((pad, pad), (pad, pad), (0, 0)))
    return _Stamp(left - pad, top - pad, framed, np.pad(alpha, pad), shadow)


def draw(layout: Composition, size: int) -> Drawing:
    """The plan as pixels, with what is visible of each labelled object and what it touches."""
    canvas = background(layout.ground, layout.ground_palette, size)
    count = sum(element.labelled for element in layout.elements)
    masks = np.zeros((count, size, size), bool)
    touched = np.zeros((count, size, size), bool)
    shade = np.float32(0.55) * (1 - layout.palette[6])
    k = 0
    for element in layout.elements:
        stamp = _stamp(element, size, layout.light)
        n = stamp.alpha.shape[0]
        y0, y1 = max(stamp.top, 0), min(stamp.top + n, size)
        x0, x1 = max(stamp.left, 0), min(stamp.left + n, size)
        here = slice(y0, y1), slice(x0, x1)
        there = slice(y0 - stamp.top, y1 - stamp.top), slice(x0 - stamp.left, x1 - stamp.left)
        alpha, shadow = stamp.alpha[there], stamp.shadow[there]
        dimmed = canvas[here] * (1 - shadow[..., None] * shade)
        canvas[here] = dimmed * (1 - alpha[..., None]) + stamp.colour[there]
        solid = alpha >= 0.5
        masks[(slice(None), *here)] &= ~solid
        if element.labelled:
            masks[(k, *here)] = solid
            touched[(k, *here)] = (alpha > 0) | (shadow > 0)
            k += 1
    x, y = grid(size)
    rng = np.random.default_rng(layout.grain)
    lx, ly = 0.5 + 0.55 * layout.light[0], 0.5 + 0.55 * layout.light[1]
    lit = 1.14 - layout.glow * ((x - lx) ** 2 + (y - ly) ** 2)
    lit = lit * (0.96 + 0.08 * noise(rng, size, scale=1.5, roughness=0.8))
    warm = np.array([1.03, 1.0, 0.95], np.float32)
    image = np.clip(canvas * (lit[..., None] * warm), 0, 1)
    return Drawing((image * 255 + 0.5).astype(np.uint8), masks, touched)
