"""What a scene is made of: the categories, each defined by its shape alone, and the distractors.

Every function yields the parts of one thing from back to front, in its own plane (about -1 to 1, x
to the right, y down). It takes all its colours from `Paint`, which is drawn in the same way for
every category and distractor, so that no colour belongs to a category.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from seewhy.data.scenes.shapes import (
    Path,
    box,
    curve,
    ellipse,
    mirrored,
    polygon,
    rounded,
    smooth,
    stroke,
)

RGB = tuple[float, float, float]


class Paint(NamedTuple):
    """The colours of one thing, RGB in 0-1."""

    body: RGB
    second: RGB
    third: RGB
    dark: RGB
    light: RGB


class Part(NamedTuple):
    """A filled outline: its path, its colour (None cuts a hole), whether it takes the pattern."""

    path: Path
    colour: RGB | None
    patterned: bool = False
    edge: bool = True


def detail(path: Path, colour: RGB) -> Part:
    """A small part, too fine for an edge."""
    return Part(path, colour, edge=False)


Parts = Iterator[Part]
Draw = Callable[[np.random.Generator, Paint], Parts]


def apple(rng: np.random.Generator, paint: Paint) -> Parts:
    """A dimpled fruit with a stalk and a leaf."""
    w, h = rng.uniform(0.82, 0.98), rng.uniform(0.92, 1.05)
    lean = rng.uniform(-0.1, 0.2)
    side = [(0.0, -0.52), (0.3, -0.74), (0.7, -0.68), (0.95, -0.2), (0.82, 0.4), (0.45, 0.86)]
    side += [(0.18, 0.92), (0.0, 0.82)]
    leaf = [(0.06, -0.72), (0.2, -1.05), (0.55, -1.2), (0.8, -1.12), (0.62, -0.85), (0.3, -0.72)]
    yield Part(stroke([(0, -0.45), (0.02, -0.75), (lean, -1.08)], 0.1, 0.17), paint.dark)
    yield Part(smooth(np.array(mirrored(side)) * (w, h)), paint.body, True)
    yield detail(smooth([(-0.22, -0.55), (0, -0.48), (0.22, -0.55), (0, -0.42)]), paint.dark)
    yield Part(smooth(leaf), paint.second)
    yield detail(stroke([(0.12, -0.78), (0.4, -0.96), (0.66, -1.06)], 0.04), paint.dark)


def bird(rng: np.random.Generator, paint: Paint) -> Parts:
    """A perching songbird from the side."""
    tail, belly = rng.uniform(-0.25, 0.25), rng.uniform(0.42, 0.6)
    body = [(0.62, -0.62), (0.86, -0.4), (0.72, -0.02), (0.5, 0.34), (0.05, belly), (-0.45, 0.3)]
    body += [(-0.7, 0.02), (-0.4, -0.16), (0.05, -0.24), (0.3, -0.5)]
    wing = [(0.2, -0.12), (0.3, 0.12), (0.0, 0.34), (-0.5, 0.3), (-0.86, 0.12), (-0.4, -0.02)]
    feathers = [(-1.15, -0.16 + tail), (-1.25, 0.08 + tail), (-1.1, 0.2 + tail)]
    for x in (0.02, 0.25):
        yield detail(stroke([(x, 0.35), (x - 0.02, 0.65), (x + 0.0, 0.92)], 0.07), paint.dark)
        yield detail(stroke([(x - 0.14, 0.93), (x, 0.91), (x + 0.2, 0.93)], 0.07), paint.dark)
    yield Part(polygon((-0.5, -0.02), *feathers, (-0.45, 0.25)), paint.second)
    yield Part(polygon((0.76, -0.52), (1.2, -0.34), (0.78, -0.24)), paint.third)
    yield Part(smooth(body), paint.body, True)
    yield Part(smooth(wing), paint.second)
    yield detail(stroke([(0.1, 0.08), (-0.2, 0.16), (-0.55, 0.14)], 0.05), paint.dark)
    yield detail(ellipse(0.6, -0.4, 0.1), paint.light)
    yield detail(ellipse(0.62, -0.4, 0.065), paint.dark)


def butterfly(rng: np.random.Generator, paint: Paint) -> Parts:
    """Four spread wings about a slender body with antennae."""
    reach, drop = rng.uniform(0.92, 1.1), rng.uniform(0.75, 0.95)
    upper = [(0.06, -0.1), (0.3, -0.7), (0.8, -0.95), (1.05, -0.7), (0.92, -0.2), (0.5, 0.08)]
    lower = [(0.06, 0.05), (0.45, 0.05), (0.8, 0.25), (0.78, 0.66), (0.5, 0.88), (0.22, 0.6)]
    for flip in (1, -1):
        yield Part(smooth(np.array(lower) * (0.95, drop)) * (flip, 1), paint.second, True)
        yield Part(smooth(np.array(upper) * (reach, 1.0)) * (flip, 1), paint.body, True)
        yield detail(ellipse(flip * 0.72 * reach, -0.6, 0.15), paint.third)
        yield detail(ellipse(flip * 0.52, 0.5 * drop, 0.12), paint.light)
        feeler = [(flip * 0.03, -0.4), (flip * 0.12, -0.75), (flip * 0.34, -1.02)]
        yield detail(stroke(feeler, 0.05), paint.dark)
        yield detail(ellipse(flip * 0.35, -1.02, 0.06), paint.dark)
    yield Part(ellipse(0, 0.1, 0.1, 0.58), paint.dark)
    yield detail(ellipse(0, -0.45, 0.12), paint.dark)


def cactus(rng: np.random.Generator, paint: Paint) -> Parts:
    """A columnar cactus with two raised arms, in a pot."""
    top = rng.uniform(-1.15, -1.0)
    left, right = rng.uniform(-0.7, -0.35), rng.uniform(-0.75, -0.35)
    low_l, low_r = rng.uniform(0.0, 0.2), rng.uniform(-0.15, 0.1)
    for side, low, high in ((-1, low_l, left), (1, low_r, right)):
        arm = [(0, low), (side * 0.42, low), (side * 0.58, low - 0.18), (side * 0.58, high)]
        yield Part(stroke(arm, 0.3), paint.body, True)
    yield Part(stroke([(0, 0.6), (0, 0.0), (0, top + 0.2)], 0.46), paint.body, True)
    for x in (-0.1, 0.1):
        yield detail(stroke([(x, 0.45), (x, -0.2), (x * 0.8, top + 0.25)], 0.035), paint.dark)
    if rng.random() < 0.5:
        for turn in (-50, 0, 50):
            a = np.deg2rad(turn)
            petal = ellipse(0.13 * np.sin(a), top - 0.12 * np.cos(a), 0.08, 0.15, tilt=turn)
            yield Part(petal, paint.third)
    yield Part(polygon((-0.42, 0.5), (0.42, 0.5), (0.32, 1.05), (-0.32, 1.05)), paint.second)
    yield Part(rounded(-0.5, 0.42, 0.5, 0.62, 0.06), paint.second)


def car(rng: np.random.Generator, paint: Paint) -> Parts:
    """A saloon or hatchback from the side."""
    roof, back = rng.uniform(-0.62, -0.5), rng.uniform(-0.95, -0.62)
    front = rng.uniform(0.42, 0.6)
    sill = roof + 0.1  # the upper edge of the glass
    yield Part(polygon(
        (-1.15, 0.3), (-1.18, -0.02), (-1.05, -0.1), (back, -0.12), (-0.55, roof), (0.2, roof),
        (front, -0.12), (1.02, -0.02), (1.16, 0.1), (1.16, 0.3),
    ), paint.body, True)  # fmt: skip
    yield Part(polygon((back + 0.2, -0.1), (-0.5, sill), (-0.2, sill), (-0.2, -0.1)), paint.light)
    yield Part(polygon((-0.1, -0.1), (-0.1, sill), (0.15, sill), (front - 0.12, -0.1)), paint.light)
    yield Part(rounded(-1.18, 0.16, 1.18, 0.32, 0.06), paint.second)
    yield Part(ellipse(1.08, 0.06, 0.09, 0.08), paint.light)
    yield detail(stroke([(-0.15, 0.03), (-0.1, 0.03), (0.0, 0.03)], 0.05), paint.dark)
    for x in (-0.62, 0.66):
        yield Part(ellipse(x, 0.32, 0.3), paint.dark)
        yield detail(ellipse(x, 0.32, 0.14), paint.third)


def clock(rng: np.random.Generator, paint: Paint) -> Parts:
    """An alarm clock: a round face with marks and two hands, bells and feet."""
    for s in (-1, 1):
        yield Part(stroke([(s * 0.45, 0.6), (s * 0.6, 0.85), (s * 0.7, 1.02)], 0.17), paint.dark)
    for s in (-1, 1):
        bell = ellipse(s * 0.55, -0.78, 0.34, 0.3, tilt=s * 38, start=180, stop=360)
        yield Part(bell, paint.second)
    yield Part(stroke([(-0.2, -1.0), (0, -1.08), (0.2, -1.0)], 0.12), paint.dark)
    yield Part(ellipse(0, 0, 0.86), paint.body, True)
    yield Part(ellipse(0, 0, 0.66), paint.light)
    for turn in np.deg2rad(np.arange(0, 360, 30 if rng.random() < 0.5 else 90)):
        s, c = np.sin(turn), np.cos(turn)
        mark = stroke([(0.5 * s, 0.5 * c), (0.54 * s, 0.54 * c), (0.6 * s, 0.6 * c)], 0.07)
        yield detail(mark, paint.dark)
    for length, width in ((0.34, 0.12), (0.52, 0.08)):
        a = rng.uniform(0, 2 * np.pi)
        x, y = length * np.sin(a), length * np.cos(a)
        yield detail(stroke([(0, 0), (x / 2, y / 2), (x, y)], width), paint.dark)
    yield detail(ellipse(0, 0, 0.09), paint.third)


def cup(rng: np.random.Generator, paint: Paint) -> Parts:
    """A mug with a handle."""
    taper, low = rng.uniform(0.0, 0.22), rng.uniform(0.65, 0.9)
    handle = [(0.5, -0.35), (0.95, -0.4), (1.08, 0.02), (0.85, 0.42), (0.45, 0.45)]
    base = ellipse(0, low, 0.7 - taper, 0.16, start=0, stop=180)
    if rng.random() < 0.4:
        yield Part(ellipse(0.05, low + 0.08, 1.15, 0.22), paint.third)
    yield Part(stroke(handle, 0.2), paint.body)
    yield Part(np.vstack([base, [[-0.7, -0.6], [0.7, -0.6]]]), paint.body, True)
    yield Part(ellipse(0, -0.6, 0.7, 0.18), paint.body)
    yield detail(ellipse(0, -0.57, 0.58, 0.12), paint.dark)
    if rng.random() < 0.6:
        y = rng.uniform(-0.05, 0.3)
        yield detail(stroke([(-0.62, y), (0, y + 0.16), (0.62, y)], 0.16), paint.second)


def fish(rng: np.random.Generator, paint: Paint) -> Parts:
    """A fish from the side."""
    deep, fork = rng.uniform(0.45, 0.65), rng.uniform(0.35, 0.6)
    side = [(1.0, 0.0), (0.72, 0.62), (0.2, 1.0), (-0.3, 0.72), (-0.68, 0.2)]
    body = smooth([(x, y * deep) for x, y in side] + [(x, -y * deep) for x, y in side[:0:-1]])
    tail = [(-0.55, 0.0), (-0.8, -0.25), (-1.15, -fork), (-1.0, 0.0), (-1.15, fork), (-0.8, 0.25)]
    crest = [(0.35, -0.85 * deep), (0.0, -deep - 0.3), (-0.42, -deep - 0.12)]
    belly = [(0.05, 0.85 * deep), (-0.3, deep + 0.22), (-0.35, 0.6 * deep)]
    yield Part(smooth(tail), paint.second)
    yield Part(polygon(*crest, (-0.4, -0.5 * deep)), paint.second)
    yield Part(polygon(*belly), paint.second)
    yield Part(body, paint.body, True)
    yield detail(stroke([(0.5, -0.6 * deep), (0.38, 0.0), (0.5, 0.6 * deep)], 0.06), paint.dark)
    yield Part(smooth([(0.22, 0.0), (-0.18, 0.02), (-0.26, 0.3), (0.05, 0.26)]), paint.third)
    yield detail(ellipse(0.7, -0.2 * deep, 0.13), paint.light)
    yield detail(ellipse(0.72, -0.2 * deep, 0.075), paint.dark)


def flower(rng: np.random.Generator, paint: Paint) -> Parts:
    """A blossom of five to eight petals on a leafy stalk."""
    petals = int(rng.integers(5, 9))
    wide = 1.7 / petals * rng.uniform(0.9, 1.1)
    turn = rng.uniform(0, 360)
    bend = rng.uniform(-0.2, 0.2)
    cy = -0.42
    yield Part(stroke([(0, cy), (bend, 0.4), (0, 1.1)], 0.11, 0.14), paint.second)
    for s, y in ((1, 0.55), (-1, 0.78)):
        leaf = [(0.02, y), (0.2, y - 0.24), (0.52, y - 0.34), (0.42, y - 0.06), (0.2, y + 0.04)]
        yield Part(smooth([(s * x + bend * 0.6, v) for x, v in leaf]), paint.second)
    for k in range(petals):
        angle = turn + k * 360 / petals
        a = np.deg2rad(angle)
        petal = ellipse(0.4 * np.cos(a), cy + 0.4 * np.sin(a), 0.32, wide, tilt=angle)
        yield Part(petal, paint.body, True)
    yield Part(ellipse(0, cy, 0.22), paint.third)


def guitar(rng: np.random.Generator, paint: Paint) -> Parts:
    """An acoustic guitar, upright."""
    waist = rng.uniform(0.3, 0.38)
    side = [(0.0, -0.2), (0.3, -0.16), (0.42, 0.06), (waist, 0.3), (0.48, 0.55), (0.56, 0.82)]
    side += [(0.36, 1.1), (0.0, 1.16)]
    yield Part(polygon((-0.1, 0.0), (-0.075, -0.95), (0.075, -0.95), (0.1, 0.0)), paint.second)
    yield Part(polygon((-0.09, -0.92), (-0.15, -1.25), (0.15, -1.25), (0.09, -0.92)), paint.third)
    for y in (-1.18, -1.02):
        for s in (-1, 1):
            yield detail(ellipse(s * 0.17, y, 0.05), paint.dark)
    yield Part(smooth(mirrored(side)), paint.body, True)
    yield Part(polygon((-0.1, 0.1), (-0.09, -0.3), (0.09, -0.3), (0.1, 0.1)), paint.second)
    yield detail(ellipse(0, 0.28, 0.2), paint.light)
    yield detail(ellipse(0, 0.28, 0.16), paint.dark)
    yield detail(rounded(-0.24, 0.78, 0.24, 0.9, 0.04), paint.dark)
    for x in (-0.04, 0.04):
        yield detail(stroke([(x, 0.8), (x, 0.0), (x, -0.95)], 0.022), paint.light)


def house(rng: np.random.Generator, paint: Paint) -> Parts:
    """A gabled house with a door, windows and a chimney."""
    eave, ridge = rng.uniform(-0.2, -0.05), rng.uniform(-1.05, -0.85)
    half = rng.uniform(0.72, 0.88)
    door = rng.choice([-0.4, 0.0, 0.4])
    stack = rng.choice([-0.45, 0.45]) * half / 0.8
    roof = polygon((-half - 0.2, eave + 0.05), (0, ridge), (half + 0.2, eave + 0.05))
    yield Part(box(stack - 0.12, ridge - 0.02, stack + 0.12, eave), paint.third)
    yield Part(box(-half, eave - 0.05, half, 0.92), paint.body, True)
    yield Part(roof, paint.second)
    yield Part(box(door - 0.17, 0.32, door + 0.17, 0.92), paint.dark)
    for x in (-0.45, 0.0, 0.45):
        if abs(x - door) > 0.35:
            yield Part(rounded(x - 0.15, 0.2, x + 0.15, 0.52, 0.02), paint.light)
            yield detail(box(x - 0.02, 0.2, x + 0.02, 0.52), paint.dark)
    yield Part(ellipse(0, (eave + ridge) / 2 + 0.12, 0.13), paint.light)


def icecream(rng: np.random.Generator, paint: Paint) -> Parts:
    """One to three scoops on a waffle cone."""
    scoops = int(rng.integers(1, 4))
    yield Part(polygon((-0.42, -0.02), (0.42, -0.02), (0.04, 1.15), (-0.04, 1.15)), paint.second)
    for x in (-0.2, 0.0, 0.2):
        for side in (-1, 1):
            # A waffle line leaves the rim parallel to one side and ends at the other.
            depth = (0.42 + side * x) / 0.65
            end = (x - side * 0.325 * depth, depth - 0.02)
            middle = ((x + end[0]) / 2, (end[1] - 0.02) / 2)
            yield detail(stroke([(x, -0.02), middle, end], 0.035), paint.third)
    for k, colour in zip(range(scoops), (paint.body, paint.third, paint.light), strict=False):
        y = -0.15 - 0.42 * k
        r = 0.5 - 0.05 * k
        drip = [(-r, y), (-r * 0.75, y - r * 0.68), (0, y - r), (r * 0.75, y - r * 0.68), (r, y)]
        drip += [(r * 0.72, y + 0.2), (r * 0.4, y + 0.1), (0.08, y + 0.26), (-r * 0.35, y + 0.1)]
        drip += [(-r * 0.7, y + 0.2)]
        yield Part(smooth(drip), colour, True)
    if rng.random() < 0.5:
        y = -0.15 - 0.42 * (scoops - 1) - 0.58
        yield Part(ellipse(0.02, y, 0.13), paint.dark)


def key(rng: np.random.Generator, paint: Paint) -> Parts:
    """A bit key: a bow with a hole, a shaft, two or three teeth."""
    teeth = int(rng.integers(2, 4))
    bow = rng.uniform(0.36, 0.44)
    yield Part(rounded(-0.5, -0.1, 1.15, 0.1, 0.05), paint.body)
    for k in range(teeth):
        x = 1.02 - 0.24 * k
        yield Part(rounded(x - 0.085, 0.02, x + 0.085, rng.uniform(0.26, 0.46), 0.03), paint.body)
    if rng.random() < 0.5:
        yield Part(ellipse(-0.72, 0, bow), paint.body, True)
    else:
        for a in np.deg2rad((90, 180, 270)):
            lobe = ellipse(-0.66 + 0.24 * np.cos(a), 0.24 * np.sin(a), 0.27)
            yield Part(lobe, paint.body, True)
    yield Part(rounded(-0.32, -0.16, -0.16, 0.16, 0.05), paint.second)
    yield Part(ellipse(-0.74, 0, bow * 0.5), None)


def mushroom(rng: np.random.Generator, paint: Paint) -> Parts:
    """A spotted cap on a stout stalk."""
    high, wide = rng.uniform(0.78, 1.05), rng.uniform(0.85, 1.0)
    foot = rng.uniform(0.28, 0.42)
    stalk = [(-0.2, -0.1), (0.2, -0.1), (0.24, 0.45), (foot, 0.9), (0, 1.0), (-foot, 0.9)]
    stalk += [(-0.24, 0.45)]
    collar = [(-0.3, 0.28), (0, 0.22), (0.3, 0.28), (0.36, 0.42), (0, 0.38), (-0.36, 0.42)]
    dome = ellipse(0, -0.02, wide, high, start=180, stop=360)
    rim = ellipse(0, -0.02, wide, 0.2, start=0, stop=180)
    yield Part(smooth(stalk), paint.second)
    yield Part(smooth(collar), paint.light)
    yield Part(np.vstack([dome, rim]), paint.body)
    yield detail(ellipse(0, 0.05, wide * 0.86, 0.1), paint.third)
    spots = ((-0.5, -0.3, 0.15), (0.02, -0.6, 0.19), (0.5, -0.32, 0.16), (-0.05, -0.22, 0.12))
    for x, y, r in spots:
        jitter = rng.uniform(-0.05, 0.05, 2)
        spot = ellipse(x * wide + jitter[0], y * high + jitter[1], r, r * 0.85)
        yield detail(spot, paint.light)


def rocket(rng: np.random.Generator, paint: Paint) -> Parts:
    """A finned rocket with a porthole and a flame."""
    wide, fin = rng.uniform(0.34, 0.44), rng.uniform(0.6, 0.8)
    side = [(0.0, -1.2), (0.2, -0.92), (wide, -0.4), (wide, 0.2), (0.26, 0.62), (0.0, 0.66)]
    nose = [(0.0, -1.22), (0.2, -0.95), (wide * 0.82, -0.6), (0.0, -0.52)]
    flame = [(-0.2, 0.68), (0.2, 0.68), (0.15, 0.92), (0.0, rng.uniform(1.1, 1.3)), (-0.15, 0.92)]
    yield Part(smooth(flame), paint.light)
    yield Part(smooth([(x * 0.55, 0.68 + (y - 0.68) * 0.6) for x, y in flame]), paint.third)
    for s in (-1, 1):
        wing = polygon((s * 0.28, 0.0), (s * fin, 0.45), (s * fin, 0.86), (s * 0.22, 0.6))
        yield Part(wing, paint.second)
    yield Part(polygon((-0.2, 0.55), (0.2, 0.55), (0.26, 0.74), (-0.26, 0.74)), paint.dark)
    yield Part(smooth(mirrored(side)), paint.body, True)
    yield Part(smooth(mirrored(nose)), paint.second)
    yield Part(ellipse(0, -0.2, 0.22), paint.dark)
    yield detail(ellipse(0, -0.2, 0.15), paint.light)


def sailboat(rng: np.random.Generator, paint: Paint) -> Parts:
    """A hull under a mainsail and a jib."""
    belly = rng.uniform(0.0, 0.2)
    mast = rng.uniform(-0.12, 0.02)
    sail = curve([(mast + 0.07, -1.05), (mast + 0.45 + belly, -0.3), (mast + 0.82, 0.36)])
    jib = polygon((mast - 0.08, -0.85), (mast - 0.08, 0.34), (-0.85, 0.34))
    hull = smooth([(-1.05, 0.46), (-0.5, 0.5), (0.2, 0.5), (1.05, 0.44), (0.85, 0.78), (0.6, 0.95),
                   (-0.6, 0.95), (-0.88, 0.78)])  # fmt: skip
    yield Part(stroke([(mast, 0.55), (mast, -0.3), (mast, -1.18)], 0.08), paint.dark)
    yield Part(polygon((mast, -1.2), (mast - 0.34, -1.1), (mast, -1.0)), paint.third)
    yield Part(np.vstack([sail, [(mast + 0.07, 0.36)]]), paint.body, True)
    yield Part(jib, paint.second)
    yield Part(hull, paint.third)
    yield detail(stroke([(-0.86, 0.68), (0, 0.72), (0.88, 0.66)], 0.09), paint.light)


def snail(rng: np.random.Generator, paint: Paint) -> Parts:
    """A snail with a coiled shell."""
    lift, turns = rng.uniform(-0.1, 0.1), rng.uniform(1.7, 2.4)
    foot = [(-1.15, 0.82), (-0.8, 0.6), (0.1, 0.55), (0.52, 0.42), (0.62, -0.05 + lift),
            (0.82, -0.25 + lift), (1.05, -0.1 + lift), (1.02, 0.3), (0.85, 0.7), (0.5, 0.86),
            (-0.4, 0.88)]  # fmt: skip
    a = np.linspace(0.0, turns * 2 * np.pi, 26) + rng.uniform(0, 1.5)
    r = np.linspace(0.04, 0.56, 26)
    spiral = np.stack([-0.25 + r * np.cos(a), 0.02 + r * np.sin(a)], axis=1)
    for dx in (-0.02, 0.18):
        tip = (0.95 + dx * 1.6, -0.62 + lift)
        yield Part(stroke([(0.85, -0.15 + lift), (0.9 + dx, -0.4 + lift), tip], 0.07), paint.second)
        yield detail(ellipse(*tip, 0.075), paint.dark)
    yield Part(smooth(foot), paint.second)
    yield Part(ellipse(-0.25, 0.02, 0.68, 0.66), paint.body, True)
    yield detail(stroke(spiral, 0.05, 0.1), paint.dark)
    yield detail(stroke([(0.84, 0.2), (0.92, 0.26), (1.0, 0.2)], 0.045), paint.dark)


def umbrella(rng: np.random.Generator, paint: Paint) -> Parts:
    """An open umbrella with a hooked handle."""
    high, panels = rng.uniform(0.8, 1.0), int(rng.integers(4, 7))
    rim = 0.05
    x = np.linspace(1.1, -1.1, panels + 1)
    scallops = [
        ellipse((p + q) / 2, rim, (p - q) / 2, 0.13, start=0, stop=-180) for p, q in pairwise(x)
    ]
    side = float(rng.choice([-1.0, 1.0]))
    hook = [(0, -0.2), (0, 0.6), (0, 0.92), (side * 0.14, 1.1), (side * 0.32, 0.95)]
    dome = ellipse(0, rim, 1.1, high, start=180, stop=360)
    yield Part(stroke(hook, 0.1), paint.dark)
    yield Part(stroke([(0, -high), (0, -high - 0.02), (0, -high - 0.08)], 0.1), paint.dark)
    yield Part(np.vstack([dome, *scallops]), paint.body, True)
    for p, q, scallop in zip(x[:-1:2], x[1::2], scallops[::2], strict=False):
        down = curve([(0.0, rim - high), (p * 0.72, rim - high * 0.62), (p, rim)])
        up = curve([(q, rim), (q * 0.72, rim - high * 0.62), (0.0, rim - high)])
        yield Part(np.vstack([down, scallop, up]), paint.second)


def blob(rng: np.random.Generator, paint: Paint) -> Parts:
    """A pebble with a lighter patch."""
    n = int(rng.integers(5, 10))
    a = np.linspace(0, 2 * np.pi, n, endpoint=False)
    outline = np.stack([np.cos(a), np.sin(a)], axis=1) * rng.uniform(0.55, 1.0, (n, 1))
    yield Part(smooth(outline), paint.body, True)
    if rng.random() < 0.5:
        yield Part(smooth(outline * 0.45 + rng.uniform(-0.1, 0.1, 2)), paint.second)


def ring(rng: np.random.Generator, paint: Paint) -> Parts:
    """A ring, or a disc within a disc."""
    inner = rng.uniform(0.35, 0.75)
    middle = None if rng.random() < 0.6 else (paint.light, paint.dark)[int(rng.integers(2))]
    ry = rng.uniform(0.7, 1.0)
    yield Part(ellipse(0, 0, 1, ry), paint.body, True)
    yield Part(ellipse(0, 0, inner, inner * ry), middle)


def bars(rng: np.random.Generator, paint: Paint) -> Parts:
    """One to three crossing or parallel bars."""
    for colour in (paint.body, paint.second, paint.dark)[: int(rng.integers(1, 4))]:
        a, shift = rng.uniform(0, np.pi), rng.uniform(-0.3, 0.3, 2)
        d = np.array([np.cos(a), np.sin(a)])
        bar = stroke(np.stack([shift - d, shift, shift + d]), rng.uniform(0.12, 0.4))
        yield Part(bar, colour, True)


def patch(rng: np.random.Generator, paint: Paint) -> Parts:
    """A polygon with an inlay."""
    n = int(rng.integers(3, 7))
    a = np.sort(rng.uniform(0, 2 * np.pi, n)) * 0.3 + np.linspace(0, 2 * np.pi, n, endpoint=False)
    path = np.stack([np.cos(a), np.sin(a)], axis=1) * rng.uniform(0.75, 1.0, (n, 1))
    yield Part(path, paint.body, True)
    if rng.random() < 0.5:
        yield Part(path * rng.uniform(0.4, 0.7), paint.third)


def crescent(rng: np.random.Generator, paint: Paint) -> Parts:
    """A half disc or a crescent."""
    inner = ellipse(0, 0, 1, rng.uniform(-0.6, 0.3), start=180, stop=360)
    yield Part(np.vstack([ellipse(0, 0, 1, start=0, stop=180), inner]), paint.body, True)


def wave(rng: np.random.Generator, paint: Paint) -> Parts:
    """A ribbon that winds or zigzags."""
    n = int(rng.integers(4, 8))
    x = np.linspace(-1, 1, n)
    y = np.where(np.arange(n) % 2, 1.0, -1.0) * rng.uniform(0.15, 0.4)
    yield Part(stroke(np.stack([x, y], axis=1), rng.uniform(0.12, 0.28)), paint.second, True)


def cluster(rng: np.random.Generator, paint: Paint) -> Parts:
    """A handful of discs and leaves that touch."""
    for colour in paint:
        x, y = rng.uniform(-0.6, 0.6, 2)
        rx = rng.uniform(0.18, 0.4)
        path = ellipse(x, y, rx, rx * rng.uniform(0.4, 1.0), tilt=rng.uniform(0, 180))
        yield Part(path, colour, colour == paint.body)


_objects: tuple[Draw, ...] = (
    apple, bird, butterfly, cactus, car, clock, cup, fish, flower, guitar, house, icecream, key,
    mushroom, rocket, sailboat, snail, umbrella,
)  # fmt: skip
_distractors: tuple[Draw, ...] = (blob, ring, bars, patch, crescent, wave, cluster)

DRAW: dict[str, Draw] = {draw.__name__: draw for draw in _objects + _distractors}
CATEGORIES: tuple[str, ...] = tuple(draw.__name__ for draw in _objects)
DISTRACTORS: tuple[str, ...] = tuple(draw.__name__ for draw in _distractors)


def number_of(what: str, category: str) -> int:
    """The index of a category. Raises ValueError that names `what` for an unknown one."""
    if category not in CATEGORIES:
        raise ValueError(
            f"{what}: {category!r} is not one of the scenes' categories: {', '.join(CATEGORIES)}"
        )
    return CATEGORIES.index(category)
