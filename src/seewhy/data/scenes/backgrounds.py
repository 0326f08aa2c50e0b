"""Cluttered, textured grounds, in the same colours as what lies on them.

A ground is a pure function of a random generator, a palette and a size: float32 (size, size, 3) in
0-1. Geometry is in units of the picture's side, so that the same ground is drawn at any size.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from seewhy.data.scenes.objects import RGB
from seewhy.data.scenes.shapes import ellipse, smooth

Array = NDArray[np.floating]

_BANK = 1024
_WINDOW = 180.0


@cache
def _bank(roughness: float) -> Image.Image:
    """A large field of multi-octave (1/f) noise in 0-1, from which every texture is cut."""
    rng = np.random.default_rng(7)
    frequency = np.hypot(
        np.fft.fftfreq(_BANK)[:, None] * _BANK, np.fft.rfftfreq(_BANK)[None] * _BANK
    )
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((_BANK, _BANK)))
    # Nothing below two waves per window: a texture is to vary inside a picture.
    spectrum /= np.maximum(frequency, 2 * _BANK / _WINDOW) ** roughness
    field = np.fft.irfft2(spectrum, s=(_BANK, _BANK))
    field = np.clip(0.5 + (field - field.mean()) / (4 * field.std()), 0, 1)
    return Image.fromarray(field.astype(np.float32))


def noise(
    rng: np.random.Generator,
    size: int,
    *,
    scale: float = 1.0,
    stretch: float = 1.0,
    roughness: float = 1.6,
) -> Array:
    """Noise in 0-1, float32 (size, size).

    `scale` > 1 is finer, `stretch` > 1 draws it out along a random direction.
    """
    a = rng.uniform(0, 2 * np.pi)
    window = _WINDOW * scale
    u, v = window / size * np.cos(a), window / size * np.sin(a)
    p, q = -v / stretch, u / stretch
    reach = 0.75 * window
    x, y = rng.uniform(reach, _BANK - reach, 2)
    half = size / 2
    data = (u, p, x - half * (u + p), v, q, y - half * (v + q))
    cut = _bank(roughness).transform(
        (size, size), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR
    )
    return np.asarray(cut)


@cache
def grid(size: int) -> tuple[Array, Array]:
    """The pixels' centres in units of the picture's side: x and y, each (size, size)."""
    t = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = np.meshgrid(t, t)
    return x, y


def mix(a: Array, b: Array, weight: Array) -> Array:
    """Colours from `a` (weight 0) to `b` (weight 1)."""
    return a + (b - a) * weight[..., None]


def step(x: Array, width: float) -> Array:
    """A soft threshold at zero, `width` wide."""
    out: Array = np.clip(x / width + 0.5, 0, 1)
    return out


def _turned(rng: np.random.Generator, size: int) -> tuple[Array, Array]:
    x, y = grid(size)
    a = rng.uniform(0, np.pi)
    c, s = np.float32(np.cos(a)), np.float32(np.sin(a))
    return c * x + s * y, c * y - s * x


def wash(rng: np.random.Generator, colours: Array, size: int) -> Array:
    """Clouds of three colours."""
    first = step(noise(rng, size, roughness=1.8) - 0.5, rng.uniform(0.15, 0.6))
    second = step(noise(rng, size, scale=0.8) - rng.uniform(0.5, 0.65), rng.uniform(0.1, 0.4))
    return mix(mix(colours[0], colours[1], first), colours[2], second)


def planks(rng: np.random.Generator, colours: Array, size: int) -> Array:
    """Boards with a grain."""
    _, across = _turned(rng, size)
    warp = noise(rng, size, scale=0.4, roughness=2.0)
    row = (across + 2) * rng.uniform(3, 7)
    index = np.floor(row).astype(int)
    tone = rng.uniform(0, 0.7, 64).astype(np.float32)[index]
    grain = np.sin(2 * np.pi * ((across + 0.25 * warp) * rng.uniform(14, 30) + tone * 5))
    joint = step(0.045 - np.abs(row - np.round(row)), 0.04)
    board = mix(colours[0], colours[1], np.clip(tone + 0.15 * grain, 0, 1))
    return board * (1 - 0.45 * joint)[..., None]


def stripes(rng: np.random.Generator, colours: Array, size: int) -> Array:
    """Warped bands of three colours."""
    along, _ = _turned(rng, size)
    bent = along + rng.uniform(0, 0.35) * noise(rng, size, scale=0.4, roughness=2.0)
    wave = np.sin(2 * np.pi * rng.uniform(3, 9) * bent)
    thin = np.sin(2 * np.pi * rng.uniform(6, 14) * bent + 1)
    soft = rng.uniform(0.15, 0.9)
    return mix(mix(colours[0], colours[1], step(wave, soft)), colours[2], step(thin - 0.8, 0.3))


def tiles(rng: np.random.Generator, colours: Array, size: int) -> Array:
    """Tiles or bricks, each in its own tone, with joints."""
    x, y = _turned(rng, size)
    count = rng.uniform(4, 9)
    wobble = 0.03 * noise(rng, size, scale=0.6)
    row = (y + wobble + 2) * count
    shift = 0.5 if rng.random() < 0.5 else 0.0
    column = (x + wobble + 2) * count / rng.choice([1.0, 1.6]) + np.floor(row) * shift
    i, j = np.floor(row).astype(int), np.floor(column).astype(int)
    tone = rng.random((2, 64, 64)).astype(np.float32)
    face = mix(colours[0], colours[1], tone[0][i % 64, j % 64])
    face = mix(face, colours[2], (tone[1][i % 64, j % 64] > 0.75).astype(np.float32))
    gap = np.minimum(np.abs(row - np.round(row)), np.abs(column - np.round(column)))
    return face * (1 - 0.4 * step(0.06 - gap, 0.06))[..., None]


def plaid(rng: np.random.Generator, colours: Array, size: int) -> Array:
    """Crossing bands, as on cloth."""
    x, y = _turned(rng, size)
    count, soft = rng.uniform(3, 7), rng.uniform(0.1, 0.6)
    across = step(np.sin(2 * np.pi * count * x), soft)
    down = step(np.sin(2 * np.pi * count * y), soft)
    thread = step(np.sin(2 * np.pi * count * (x + 0.3 / count)) - 0.93, 0.05)
    cloth = mix(colours[0], colours[1], 0.5 * (across + down))
    return mix(cloth, colours[2], 0.7 * thread)


def hills(rng: np.random.Generator, colours: Array, size: int) -> Array:
    """Ridges, one before the other, under a sky."""
    x, y = grid(size)
    out = mix(colours[2], colours[0], np.clip(1.2 * y + 0.3 * noise(rng, size) - 0.2, 0, 1))
    height = rng.uniform(0.15, 0.4)
    for k in range(int(rng.integers(3, 6))):
        wave = sum(
            rng.uniform(0.01, 0.06) * np.sin(2 * np.pi * (f * x[0] + rng.random()))
            for f in (0.8, 1.9, 4.1)
        )
        tone = mix(colours[k % 2], colours[2], np.float32(rng.uniform(0, 0.5)) + 0 * y)
        out = mix(out, tone, step(y - (height + wave)[None], 1.5 / size))
        height += rng.uniform(0.1, 0.25)
    return out


def _canvas(size: int, colour: Array) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (2 * size, 2 * size), byte(colour))
    return image, ImageDraw.Draw(image)


def byte(colour: Array | RGB, shade: float = 1.0) -> tuple[int, ...]:
    """A colour in 0-1, times a shade, as Pillow takes it."""
    return tuple(int(255 * min(max(shade * c, 0), 1) + 0.5) for c in np.asarray(colour).tolist())


def _array(image: Image.Image) -> Array:
    return np.asarray(image.reduce(2), dtype=np.float32) / 255


def foliage(rng: np.random.Generator, colours: Array, size: int) -> Array:
    """Overlapping leaves."""
    image, pen = _canvas(size, colours[0] * 0.7)
    leaf = smooth([(-1, 0), (-0.3, -0.35), (0.4, -0.25), (1, 0), (0.4, 0.25), (-0.3, 0.35)])[::2]
    n, length = int(rng.integers(45, 80)), rng.uniform(0.07, 0.13)
    xs, ys, turn, tone = rng.random((4, n))
    for x, y, t, c in zip(xs, ys, turn, tone, strict=True):
        a = 2 * np.pi * t
        spin = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
        at = (1.1 * x - 0.05, 1.1 * y - 0.05)
        path = (leaf @ spin * length * (0.7 + 0.6 * c) + at) * 2 * size
        blend = colours[0] + (colours[1 + int(c > 0.7)] - colours[0]) * np.float32(t)
        pen.polygon(path.ravel().tolist(), fill=byte(blend * np.float32(0.75 + 0.35 * c)))
    return _array(image)


def terrazzo(rng: np.random.Generator, colours: Array, size: int) -> Array:
    """Chips of stone strewn on a ground."""
    image, pen = _canvas(size, colours[0])
    n, length = int(rng.integers(40, 90)), rng.uniform(0.02, 0.045)
    a = np.linspace(0, 2 * np.pi, 5, endpoint=False)
    chip = np.stack([np.cos(a), np.sin(a)], axis=1) * length
    for k in range(n):
        path = (chip * rng.uniform(0.5, 1.4, (5, 1)) + rng.random(2)) * 2 * size
        tone = colours[1 + k % 2] * np.float32(rng.uniform(0.8, 1.15))
        pen.polygon(path.ravel().tolist(), fill=byte(tone))
    return _array(image)


def bokeh(rng: np.random.Generator, colours: Array, size: int) -> Array:
    """Soft discs out of focus."""
    image, pen = _canvas(size, colours[0] * 0.85)
    for k in range(int(rng.integers(16, 30))):
        radius = rng.uniform(0.03, 0.14)
        path = (ellipse(0, 0, radius) + rng.random(2)) * 2 * size
        tone = colours[0] + (colours[1 + k % 2] - colours[0]) * np.float32(rng.uniform(0.3, 1))
        pen.polygon(path.ravel().tolist(), fill=byte(tone))
    return _array(image.filter(ImageFilter.GaussianBlur(size * rng.uniform(0.01, 0.035))))


GROUNDS: tuple[Callable[[np.random.Generator, Array, int], Array], ...] = (
    wash, planks, stripes, tiles, plaid, hills, foliage, terrazzo, bokeh,
)  # fmt: skip


def background(seed: int, palette: Array, size: int) -> Array:
    """One ground: its kind, colours and texture are drawn from the seed; float32 in 0-1."""
    rng = np.random.default_rng(seed)
    kind = GROUNDS[int(rng.integers(len(GROUNDS)))]
    chosen = palette[rng.permutation(len(palette))[:3]]
    # Bring the three together a little, or the ground outshines what lies on it.
    together = np.float32(rng.uniform(0.1, 0.5))
    colours = chosen + (chosen.mean(axis=0) - chosen) * together
    ground = kind(rng, colours, size)
    mottle = 0.6 * noise(rng, size, roughness=1.1) + 0.4 * noise(rng, size, scale=1.4, stretch=3)
    return np.clip(ground * (0.8 + 0.42 * mottle)[..., None], 0, 1).astype(np.float32)
