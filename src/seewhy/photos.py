"""From photos to explanations: predictions, and maps laid back on each photo at its own size."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from seewhy.core.probe import Probe
from seewhy.core.requests import LayerLike, layer_names
from seewhy.core.targets import Class, Score, Target, TargetLike
from seewhy.data.arrays import load_array, shown
from seewhy.data.finding import find_images
from seewhy.data.geometry import Geometry
from seewhy.data.grey import Window, checked
from seewhy.data.images import PHOTO_PIXELS, ImageError, encoded, load_image
from seewhy.data.preprocess import Picture
from seewhy.explanation import Explanation, gallery_of
from seewhy.maps import finite
from seewhy.models import LoadedModel, load_model
from seewhy.models.answers import Asked, Resolved
from seewhy.models.loaded import check_outputs
from seewhy.naming import METHODS, Method, alternatives, first_that_works
from seewhy.options import Count, listed, settled
from seewhy.printable import abridged
from seewhy.progress import tracked

PhotoLike = str | Path | bytes | Image.Image | npt.NDArray[Any]
PhotoTarget = TargetLike | str
Measure = Literal["probability", "share", "value"]

Made = TypeVar("Made")


@dataclass(frozen=True)
class Failure:
    """Something that could not be explained, and why: one map, all maps of a target, or a photo."""

    reason: str
    target: str | None = None
    method: str | None = None

    def __str__(self) -> str:
        """In one line: "grad_cam of tabby: the reason"."""
        what = " of ".join(part for part in (self.method, self.target) if part is not None)
        return f"{what}: {self.reason}" if what else self.reason


@dataclass(frozen=True, repr=False)
class Answer:
    """The predictions and maps of one photo. A notebook displays them as a gallery.

    top: the most likely classes, (index, name, number).
    explanations: one for each target and method, in that order, without those that failed.
    failures: what could not be explained, with the reason.
    measure: what the numbers of `top` are: a "probability"; for a segmentation network the
        "share" of the picture that has the class; for a regression the "value" itself.
    source: file name of the photo, if it has one.
    """

    top: list[tuple[int, str, float]]
    explanations: list[Explanation]
    failures: tuple[Failure, ...] = ()
    measure: Measure = "probability"
    source: str | None = None

    def __repr__(self) -> str:
        """What the network said, and of what there are maps."""
        said = ", ".join(f"{name} {self.written(number)}" for _, name, number in self.top)
        lines = [f"<Answer {self.source or 'of a photo'}: {said or 'nothing'}"]
        lines += [f"  {one.method} of {one.caption}" for one in self.explanations]
        lines += [f"  failed: {failure}" for failure in self.failures]
        return "\n".join(lines) + ">"

    def written(self, number: float) -> str:
        """A number of `top` as it is shown: "87.1 %", or a plain number."""
        return f"{number:.4g}" if self.measure == "value" else f"{100 * number:.1f} %"

    def _repr_png_(self) -> bytes | None:
        return encoded(gallery_of(self.explanations), "PNG") if self.explanations else None


@dataclass(frozen=True)
class Question:
    """What is asked of each photo, checked before any is read.

    methods: each as alternatives, of which the first that works is taken: one if it was named.
    """

    model: LoadedModel
    methods: tuple[tuple[Method, ...], ...]
    targets: tuple[Target, ...]
    layer: tuple[str, ...] | None


def question(
    model: LoadedModel | str,
    methods: str | Method | Sequence[str | Method] | None = None,
    targets: PhotoTarget | Sequence[PhotoTarget] = None,
    layer: LayerLike = None,
) -> Question:
    """The question that these arguments ask, see `explain_photos`.

    Raises ValueError for unknown or missing methods, classes and layers; TypeError if `model` is
    neither a loaded network nor a name, or a target is none.
    """
    if isinstance(model, str):
        model = load_model(model)
    if not isinstance(model, LoadedModel):
        raise TypeError(
            f"model is {type(model).__name__}; give a name such as 'photos:efficientnet_lite0', "
            "what seewhy.load_model returns, or seewhy.LoadedModel(module, preprocess, classes)"
        )
    if isinstance(targets, Tensor):
        targets = targets.tolist()
    parsed = tuple(alternatives(method, layered=layer is not None) for method in listed(methods))
    wanted = tuple(model.target(target) for target in listed(targets))
    for name, given in (("methods", parsed), ("targets", wanted)):
        if not given:
            raise ValueError(f"{name} is empty; name at least one")
    return Question(model, parsed, wanted, layer_names(model.module, layer))


def explain_photos(
    model: LoadedModel | str,
    photos: PhotoLike | Sequence[PhotoLike],
    methods: str | Method | Sequence[str | Method] | None = None,
    targets: PhotoTarget | Sequence[PhotoTarget] = None,
    *,
    layer: LayerLike = None,
    sources: str | Sequence[str] | None = None,
    window: Window | None = None,
    batch_size: int = 8,
) -> list[Answer]:
    """Explain photos: predictions, and a map for each target and method.

    All methods and targets share one forward pass. If a photo, target or method fails, the others
    are not affected: the failure is in the answer's `failures`, and a RuntimeWarning names it.

    model: what `load_model` returns, or the name to load it by.
    photos: one or many: paths of files, folders or globs, images, or arrays as `load_image`
        takes them. Photos of more than 12.6 megapixels are shrunk while they are read.
    methods: one or many; None as in `seewhy.explain`.
    targets: one or many: None for the predicted class, a class index or name, or a target. For a
        segmentation network the target of a class is its region, and the predicted class is the
        one with the largest region.
    layer: the layer for the CAM family, see `seewhy.explain`.
    sources: names of the photos for the explanations; for paths it is the file name.
    window: the grey values that become black and white in X-rays and the like, see `load_image`.
    batch_size: maximum number of photos per forward pass.

    Returns an answer for each photo, in the order of `photos`; photos of a folder are sorted.

    Raises ValueError for unknown methods, classes and layers, and if nothing at all could be
    explained; TypeError for arguments of another type.
    """
    asked = question(model, methods, targets, layer)
    if window is not None:
        checked(window)
    items = _items(photos)
    if sources is not None:
        names = listed(sources)
        if wrong := [name for name in names if not isinstance(name, str)]:
            raise TypeError(f"sources has {type(wrong[0]).__name__}; give a name for each photo")
        if len(names) != len(items):
            raise ValueError(f"{len(names)} sources for {len(items)} photos; give one for each")
        items = [(name, photo) for name, (_, photo) in zip(names, items, strict=True)]
    found = list(answers(asked, items, window=window, batch_size=batch_size))
    failed = [(answer, failure) for answer in found for failure in answer.failures]
    if failed and not any(answer.explanations for answer in found):
        raise ValueError(str(failed[0][1]))
    for answer, failure in failed:
        source = answer.source or "a photo"
        reason = str(failure).removeprefix(f"{source}: ")  # what reads files names them
        warnings.warn(f"{source}: {reason}", RuntimeWarning, stacklevel=2)
    return found


def answers(
    asked: Question,
    photos: Iterable[tuple[str | None, PhotoLike | ImageError]],
    *,
    window: Window | None = None,
    batch_size: Count = 8,
) -> Iterator[Answer]:
    """The answer for each named photo in turn; only those of a batch are held in memory.

    Nothing is raised for what fails: see `Answer.failures`.

    Raises ValueError for a batch size below 1.
    """
    settled("explain_photos", answers, {"batch_size": batch_size})
    for batch in _batches((_read(asked, *item, window) for item in photos), batch_size):
        for _, group in groupby(
            batch, key=lambda one: isinstance(one, _Photo) and one.inputs.shape
        ):
            read = list(group)
            yield from (one for one in read if isinstance(one, Answer))
            yield from _explained(asked, [one for one in read if isinstance(one, _Photo)])


class _Photo(NamedTuple):
    """A photo as it is shown, and as the network takes it, (C, h, w)."""

    source: str | None
    image: Image.Image
    geometry: Geometry
    inputs: Tensor
    window: Window | None


def _items(
    photos: PhotoLike | Sequence[PhotoLike],
) -> list[tuple[str | None, PhotoLike | ImageError]]:
    """Each photo with its name; folders and globs become the photos in them, or why not."""
    if isinstance(photos, np.ndarray) and photos.ndim == 4:
        photos = list(photos)
    if isinstance(photos, str | Path | bytes | Image.Image | np.ndarray):
        photos = [photos]
    if isinstance(photos, Tensor):
        raise TypeError("photos is a Tensor; give photos, or ask seewhy.explain of a tensor")
    if not isinstance(photos, Iterable):
        raise TypeError(f"photos is {type(photos).__name__}; give paths, images or arrays")
    items: list[tuple[str | None, PhotoLike | ImageError]] = []
    for photo in photos:
        if isinstance(photo, str | Path):
            path = photo and Path(photo).expanduser()  # the path "" would be the current folder
            try:
                items += [(str(path), path) for path in find_images(path)]
            except ImageError as error:
                items.append((abridged(path), error))
        elif isinstance(photo, Image.Image):
            items.append((getattr(photo, "filename", None) or None, photo))
        else:
            items.append((None, photo))
    return items


def _read(
    asked: Question, source: str | None, photo: PhotoLike | ImageError, window: Window | None
) -> _Photo | Answer:
    """The photo, or the answer that says why it could not be read."""
    preprocess = asked.model.preprocess
    try:
        if isinstance(photo, ImageError):
            raise photo
        picture: Picture
        if preprocess.channels in (1, 3):
            # What is in memory already is taken at its own size.
            shrink = PHOTO_PIXELS if isinstance(photo, str | Path | bytes) else None
            picture = load_image(photo, shrink=shrink, window=window)
        elif isinstance(photo, str | Path | np.ndarray):
            picture = load_array(photo, preprocess.channels)
        else:
            raise ImageError(
                f"the network takes {preprocess.channels} channels; give an array, a .npy file or "
                "a TIFF"
            )
        image = picture if isinstance(picture, Image.Image) else shown(picture)
        return _Photo(source, image, preprocess.geometry(picture), preprocess(picture), window)
    except Exception as error:
        return Answer([], [], (Failure(_reason(error)),), source=source)


def _batches(photos: Iterable[_Photo | Answer], size: int) -> Iterator[list[_Photo | Answer]]:
    """Photos by the so many, or fewer where they are large: their pixels are held in memory."""
    batch: list[_Photo | Answer] = []
    pixels = 0
    for photo in photos:
        batch.append(photo)
        pixels += photo.image.width * photo.image.height if isinstance(photo, _Photo) else 0
        if len(batch) == size or pixels > PHOTO_PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def _explained(asked: Question, group: list[_Photo]) -> Iterator[Answer]:
    """The answers for photos of one input size, in one pass; where that fails, one by one."""
    if len(group) > 1:
        with suppress(Exception):
            return _asked(asked, group, careful=False)
    # Outside of the block, where the error no longer holds the batch in memory.
    return chain.from_iterable(_asked(asked, [one], careful=True) for one in group)


def _asked(asked: Question, group: list[_Photo], careful: bool) -> Iterator[Answer]:
    """The answers for photos in one pass. If careful, a failure is written down, else raised.

    Maps are laid back on a photo when its answer is taken: together they fill the memory.
    """
    failures: list[Failure] = []

    def tried(make: Callable[[], Made], *what: str) -> Made | None:
        try:
            return make()
        except Exception as error:  # methods, targets and networks are anyone's
            if not careful:
                raise
            failures.append(Failure(_reason(error), *what))
            return None

    ran = tried(lambda: _run(asked, group))
    if ran is None:
        return (Answer([], [], tuple(failures), source=one.source) for one in group)
    probe, logits = ran
    maps = []
    for target in asked.targets:
        label = _name(asked.model, target)
        about = tried(partial(probe.with_target, target), label)
        if about is not None:
            for method in tracked("maps", asked.methods, len(asked.methods)):
                making = partial(first_that_works, method, partial(_map, about))
                made = tried(making, label, str(method[0]))
                maps += [made] if made else []
    return (
        _answer(asked.model, photo, place, logits, maps, failures)
        for place, photo in enumerate(group)
    )


def _run(asked: Question, group: list[_Photo]) -> tuple[Probe, Tensor | None]:
    """The pass that all targets share, and its outputs as scores (B, K, ...), if they are that."""
    inputs = torch.stack([one.inputs for one in group]).to(asked.model.device)
    # The targets are asked afterwards, so that one that fails does not cost the others the pass.
    probe = asked.model.probe(inputs, Score(_unasked), asked.layer)
    probe.expect_for(method[0] for method in asked.methods).expect("name", "ending")
    try:
        logits = probe.logits.float().cpu()
        check_outputs(asked.model, probe.outputs)
    except TypeError:  # outputs for which the user has a target of their own
        return probe, None
    if logits.isnan().any():
        raise ValueError(
            f"{asked.model.called} returned NaN: its weights, or the photo's values, are broken"
        )
    return probe, logits if logits.ndim in (2, 4) else None


def _unasked(outputs: Any) -> Tensor:
    raise AssertionError("the pass that all targets share has no score of its own")


class _Map(NamedTuple):
    """Maps (B, h, w) by one method of one target, and the layers that were read for them."""

    target: Target
    method: Method
    values: Tensor
    layer: tuple[str, ...]


def _map(about: Probe, method: Method) -> _Map:
    values = finite(about.maps([method])[0].float()).cpu()
    if about.named:
        read = about.named if method.layers != "none" else ()
    else:
        read = about.layers if METHODS[method.name].layers == "chosen" else ()
    return _Map(about.target, method, values, read)


def _answer(
    model: LoadedModel,
    photo: _Photo,
    place: int,
    logits: Tensor | None,
    maps: Sequence[_Map],
    failures: Sequence[Failure],
) -> Answer:
    """The answer for the photo at a place in the batch, its maps laid back on it."""
    seen: Tensor | None = None
    explanations = []
    for one in maps:
        saliency, visible = photo.geometry.input_to_original(one.values[place])
        seen = visible if seen is None else seen  # the same for all maps, and held once
        explanations.append(
            Explanation(
                image=photo.image,
                saliency=saliency,
                seen=seen,
                method=str(one.method),
                **_said(model, one.target, logits, place),
                model=model.name,
                source=photo.source,
                layer=one.layer,
                preprocess=model.preprocess,
                window=photo.window,
            )
        )
    top = [] if logits is None else model.top(logits[place])
    measure: Measure = "probability"
    if model.activation == "none":
        measure = "value"
    elif logits is not None and logits.ndim == 4:
        measure = "share"
    return Answer(top, explanations, tuple(failures), measure, photo.source)


def _name(model: LoadedModel, target: Target) -> str:
    """What a target is called before the network has said anything."""
    if isinstance(target, Score):
        named = getattr(target.function, "__name__", "<lambda>")
        return "a function" if named == "<lambda>" else named
    if not isinstance(target, Asked) or isinstance(target.index, tuple):
        return str(target)
    if target.index is not None:
        return model.class_name(target.index)
    return "the predicted class" if target.rank == 1 else f"the class at rank {target.rank}"


def _said(model: LoadedModel, target: Target, logits: Tensor | None, place: int) -> dict[str, Any]:
    """What was explained of a photo: its name and, of a class, the index and the probability."""
    if not isinstance(target, Class | Resolved):
        return {"target": _name(model, target), "probability": None}
    index = target.classes if isinstance(target.classes, int) else target.classes[place]
    probability = None
    if logits is not None and logits.ndim == 2 and model.activation != "none":
        probability = float(model.probabilities(logits[place])[index])
    return {
        "target": model.class_name(index),
        "probability": probability,
        "class_index": index,
    }


def _reason(error: Exception) -> str:
    """What went wrong; errors that speak for themselves need not be called by their type."""
    text = str(error).strip()
    if text and isinstance(error, ValueError | TypeError | RuntimeError | OSError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
