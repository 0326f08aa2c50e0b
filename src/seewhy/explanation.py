"""An explanation: one map of one photo for one target, with all that is needed to show it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zlib import crc32

from PIL import Image
from torch import Tensor

from seewhy.data.grey import Window
from seewhy.data.images import encoded
from seewhy.data.preprocess import Preprocess
from seewhy.draw.galleries import PICTURE, Row, Tile, gallery
from seewhy.draw.legend import Key, keys
from seewhy.draw.overlays import check_mask, contour, overlay, save_saliency
from seewhy.draw.words import write_over


@dataclass(frozen=True, eq=False)
class Explanation:
    """The map of one photo for one target by one method. A notebook displays it as a picture.

    image: the photo, at its own size.
    saliency: (H, W) at the photo's size, un-normalised; zero where not seen.
    seen: (H, W), bool; False where the network never saw the photo.
    method: name of the method, with options; `seewhy.naming.parse` turns it into the method.
    target: label of the target, such as "tabby cat".
    probability: the target's probability, 0 to 1, if it has one.
    model: name of the network.
    source: file name of the photo, if it has one.
    class_index: index of the explained class, if the target is a class.
    layer: names of the layers that the method used; empty for methods at the input.
    preprocess: the preprocessing of the photo.
    window: the grey values that became black and white, if they were asked for.
    """

    image: Image.Image
    saliency: Tensor = field(repr=False)
    seen: Tensor = field(repr=False)
    method: str
    target: str
    probability: float | None
    model: str
    source: str | None = None
    class_index: int | None = None
    layer: tuple[str, ...] = ()
    preprocess: Preprocess | None = None
    window: Window | None = None

    def __post_init__(self) -> None:
        """Check that photo, map and mask belong together."""
        size = (self.image.height, self.image.width)
        if self.saliency.shape != size:
            raise ValueError(f"saliency is {tuple(self.saliency.shape)}; the photo is {size}")
        check_mask("seen", self.seen, self.image)

    @property
    def caption(self) -> str:
        """The probability, if any, and the target: "87.1 % tabby cat"."""
        if self.probability is None:
            return self.target
        return f"{percent(self.probability)} {self.target}"

    @property
    def signed(self) -> bool:
        """Whether the map has negative values, which are evidence against the target."""
        return bool((self.saliency < 0).any())

    @property
    def empty(self) -> bool:
        """Whether the map is empty: it has the same value wherever the network saw the photo."""
        values = self.saliency[self.seen]
        return not values.numel() or bool(values.min() == values.max())

    def overlay(self, **options: Any) -> Image.Image:
        """The map over the photo, see `seewhy.draw.overlays`; signed if it has negative values.

        An empty map has a text over it, which says so.
        """
        options = {"seen": self.seen, "signed": self.signed, **options}
        return self._worded(overlay(self.image, self.saliency, **options))

    def contour(self, **options: Any) -> Image.Image:
        """The salient regions outlined on the photo, see `seewhy.draw.contour`."""
        return self._worded(contour(self.image, self.saliency, **{"seen": self.seen, **options}))

    def _worded(self, picture: Image.Image) -> Image.Image:
        return write_over(picture, self.nothing) if self.empty else picture

    @property
    def nothing(self) -> str:
        """The text over an empty map."""
        return f"No evidence for “{self.target}” in this photo"

    def save(self, path: str | Path, **options: Any) -> None:
        """Write the overlay to a file; the suffix gives the format, `options` go to `overlay`.

        Raises ValueError for an unknown suffix.
        """
        path = Path(path)
        picture = self.overlay(**options)
        try:
            content = encoded(picture, Image.registered_extensions()[path.suffix.lower()])
        except (KeyError, OSError) as error:  # Pillow does not know it, or does not write it
            raise ValueError(
                f"{path}: suffix {path.suffix!r} is no colour picture's; give .png or .jpg"
            ) from error
        path.write_bytes(content)

    def save_saliency(self, path: str | Path) -> None:
        """Write the map itself as .npy, .npz or 16-bit .png, see `seewhy.draw.save_saliency`."""
        save_saliency(path, self.saliency)

    def record(self) -> dict[str, Any]:
        """What the picture shows, ready for JSON; `size` is (width, height) of the photo."""
        return {
            "source": self.source,
            "size": list(self.image.size),
            "model": self.model,
            "target": self.target,
            "probability": self.probability,
            "method": self.method,
            "class_index": self.class_index,
            "layer": list(self.layer),
            "preprocess": None if self.preprocess is None else asdict(self.preprocess),
            "window": None if self.window is None else [*map(float, self.window)],
            "version": version("seewhy"),
        }

    def _repr_png_(self) -> bytes:
        return encoded(self.overlay(), "PNG")


def percent(probability: float) -> str:
    """A probability for the eye: 87.1 %, <0.1 %."""
    return f"{100 * probability:.1f} %" if probability >= 0.0005 else "<0.1 %"


def gallery_of(explanations: Iterable[Explanation], *, columns: int = 5) -> Image.Image:
    """A gallery with a row for each photo, model and target, and a column for each method.

    If all have the same method, a row is a photo and a model, with a column for each target. Rows
    and columns are in the order of the explanations; of two with the same photo, model, target and
    method the later one is shown. See `seewhy.draw.galleries` for `columns`.

    Raises ValueError if there are no explanations.
    """
    given = list(explanations)
    if not given:
        raise ValueError("explanations is empty; give at least one")
    single = len({one.method for one in given}) == 1
    # Photos of several folders, or read with several windows, may share a name.
    photos = {id(one.image): one.image for one in given}
    pixels = {key: (image.size, crc32(image.tobytes())) for key, image in photos.items()}
    rows: dict[tuple[object, ...], dict[tuple[object, ...], Explanation]] = {}
    places: dict[tuple[object, ...], None] = {}
    for one in given:
        asked = (one.target, one.class_index)
        key = id(one.image)
        row = ((one.source, pixels[key]) if one.source else key, one.model)
        place = asked if single else (one.method,)
        rows.setdefault(row if single else row + asked, {})[place] = one
        places[place] = None
    drawn: list[Row] = []
    for shown in rows.values():
        first = next(iter(shown.values()))
        title = Path(first.source).name if first.source else ""
        # Targets are the photo's own, so that those of another leave no gaps.
        tiles = [_tile(shown.get(place)) for place in (shown if single else places)]
        drawn.append([Tile(title, first.model, first.image), *tiles])
    return gallery(drawn, columns=columns, legend=legend_of(given))


def legend_of(explanations: Iterable[Explanation]) -> list[Key]:
    """What the colours mean in the pictures of these."""
    given = list(explanations)
    signs = {one.signed for one in given if not one.empty}
    hidden = any(not bool(one.seen.all()) for one in given)
    return keys(positive=False in signs, signed=True in signs, unseen=hidden)


def _tile(explanation: Explanation | None) -> Tile | None:
    if explanation is None:
        return None
    picture = explanation.overlay()
    picture.thumbnail((PICTURE, PICTURE))  # many large photos would fill the memory
    return Tile(explanation.method, explanation.caption, picture)
