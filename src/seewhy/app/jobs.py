"""The work of the viewer, in separate processes.

If a job hangs, crashes or fills the memory, only its own answer is lost. One process holds the
networks and runs one job at a time. Another, without networks, reads photos and draws pictures,
one at a time.
"""

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from time import monotonic
from typing import Any, TypeVar, cast

import anyio
import anyio.to_thread
from PIL import Image
from starlette.requests import Request

from seewhy.app.query import Network, Photo, Query, Result, fields_of, region_of
from seewhy.app.view import about
from seewhy.aside import Aside, Gone, Late, tell
from seewhy.explanation import Explanation
from seewhy.models import LoadedModel
from seewhy.models.packages import with_torchvision
from seewhy.models.texts import looking_for
from seewhy.notes import telling, unheard
from seewhy.photos import answers, question
from seewhy.progress import Report, watching
from seewhy.trust import Check, Effect, effects, examine, hide
from seewhy.trust.hiding import Fill

START = 120.0  # seconds until a process has begun, with all networks
A_PICTURE = 20.0  # seconds for a photo to be read or a picture to be drawn
WAITING = 64  # pictures that may wait for their turn
HIDDEN = 384  # pixels of the longer side of a photo with a part hidden

Item = TypeVar("Item")
Models = dict[str, LoadedModel]
Work = Callable[[LoadedModel], Iterator[Any]]


class Jobs:
    """What asks networks: one process that has them all, for one job at a time.

    seconds: how long each may take.
    """

    def __init__(self, networks: Mapping[str, Network], seconds: float) -> None:
        self._networks, self._seconds = networks, seconds
        there: dict[str, Any] = {label: Travelling(one) for label, one in networks.items()}
        self._aside: Aside[Models] = Aside(partial(dict, there))
        # The first visitor need not wait for the process to begin.
        self.start, self.close = self._aside.start, self._aside.close

    def run(self, work: Work, network: Network, texts: Sequence[str]) -> Iterator[Any]:
        """What a work yields of a network, in the time of a job, which begins with it.

        texts: what a text-image network looks for in this work alone; none for any other.

        Raises what the work raises, and ValueError where its time is over, or its process is dead.
        """
        label = next(label for label, one in self._networks.items() if one is network)
        try:
            yield from _within(self._seconds, self._aside, partial(_worked, work, label, texts))
        except Late:
            raise ValueError(
                f"stopped after {self._seconds:g} seconds, the time limit of a job; ask for fewer "
                "or quicker methods"
            ) from None
        except Gone as error:
            raise ValueError(
                f"the process of this job died ({error}); ask for something smaller, or again"
            ) from None


def explain(jobs: Jobs, query: Query, report: Report) -> Result:
    """Answer a query; `report(what, done, total)` hears of its steps.

    A method that fails is among the answer's failures, and costs no other its map.

    Raises ValueError where no method applies, and as `Jobs.run` does.
    """
    work = partial(_explained, query.photo, query.methods, query.targets)
    found: list[Any] = []
    for kind, item in jobs.run(work, query.network, query.texts):  # to its end, or it is ended
        if kind == "step":
            report(*item)
        else:
            found.append(item)
    (answer, image, notes), *maps = found
    explanations = [Explanation(image, **fields) for fields, _ in maps]
    answer = replace(answer, explanations=explanations)
    return Result(query, answer, tuple(facts for _, facts in maps), tuple(notes))


class Pictures:
    """What reads photos and draws pictures: one process without a network, one picture at a time.

    However many visitors come at once, one photo is decoded at a time.
    """

    def __init__(self) -> None:
        self._aside: Aside[object] = Aside(object)
        self._turns = anyio.CapacityLimiter(1)
        self.start, self.close = self._aside.start, self._aside.close

    async def made(self, request: Request, make: Callable[..., Item], *given: Any) -> Item:
        """What a function of a module makes of what it is given, in answer to a request.

        Raises what the function raises, and ValueError where it takes too long, its process dies,
        too many wait, or whoever asked has left.
        """
        if self._turns.statistics().tasks_waiting >= WAITING:
            raise ValueError("too many pictures are asked for at once; try again in a minute")
        async with self._turns:
            if await request.is_disconnected():
                raise ValueError("who asked for this picture has left")
            return await anyio.to_thread.run_sync(self._made, make, given)

    def _made(self, make: Callable[..., Item], given: tuple[Any, ...]) -> Item:
        try:
            (found,) = _within(A_PICTURE, self._aside, partial(_once, make, given))
        except Late:
            raise ValueError(f"the picture took more than {A_PICTURE:g} seconds") from None
        except Gone as error:
            raise ValueError(f"the process that made the picture died ({error})") from None
        return cast(Item, found)


def _within(
    seconds: float, aside: Aside[Any], work: Callable[[Any], Iterator[Any]]
) -> Iterator[Any]:
    """What a work yields in so many seconds, which begin when it yields for the first time.

    Raises Late and Gone as `Aside.stream` does.
    """
    end = inf

    def patience() -> float:
        now = monotonic()
        if now > end:
            raise Late
        return START if end == inf else end - now

    for item in aside.stream(work, patience):
        if end == inf:
            end = monotonic() + seconds
        else:
            yield item


class Travelling:
    """A network on its way to another process, where it is what it was loaded as.

    It is pickled or, if its classes cannot be pickled, or not be found over there, loaded again.
    """

    def __init__(self, network: Network) -> None:
        self.network = network

    def __reduce__(self) -> tuple[Any, ...]:
        again = self.network.again
        try:
            pickled = pickle.dumps(self.network.model)
        except Exception:  # its classes are anyone's, and so are the errors
            if again is None:
                raise
            pickled = b""
        return _arrived, (pickled, again)


# What happens in the other processes -----------------------------------------------------------
#
# Notes about a visitor's photo are not for the terminal; `_explained` collects them for the page.


def _arrived(pickled: bytes, again: Callable[[], LoadedModel] | None) -> LoadedModel:
    """The network that was `Travelling`, at its journey's end."""
    try:
        # Networks of transformers need torchvision, which may need help.
        model: LoadedModel = with_torchvision(partial(pickle.loads, pickled))
    except Exception:
        if again is None:
            raise
        return again()
    return model


def _once(make: Callable[..., Any], given: tuple[Any, ...], state: object) -> Iterator[Any]:
    yield None
    with unheard():
        yield make(*given)


def _worked(work: Work, label: str, texts: Sequence[str], models: Models) -> Iterator[Any]:
    """A work, whose time begins when all networks are there."""
    yield None
    model = models[label]
    with unheard():
        yield from work(looking_for(model, texts) if texts else model)


def _explained(
    photo: Photo, methods: tuple[str, ...], targets: tuple[int | None, ...], model: LoadedModel
) -> Iterator[tuple[str, Any]]:
    def report(what: str, done: int, total: int) -> None:
        if total:  # else something goes on, of unknown length
            tell(("step", (what, done, total)))

    notes: list[str] = []
    with telling(notes.append), watching(report):
        (answer,) = answers(question(model, methods, targets), [(photo.name, photo.image)])
    if not answer.explanations:
        raise ValueError(str(answer.failures[0]))
    yield "found", (replace(answer, explanations=[]), answer.explanations[0].image, notes)
    for one in answer.explanations:  # one by one, as each may be large
        yield "found", (fields_of(one), about(one))


def checks(photo: Photo, method: str, target: int | None, model: LoadedModel) -> Iterator[Check]:
    """The checks of a map, as they become ready."""
    return examine(model, photo.image, method, target)


def hidden(
    photo: Photo, mask: bytes, fill: Fill, model: LoadedModel
) -> Iterator[tuple[list[Effect], Image.Image, float]]:
    """How probabilities move, the photo with its part hidden, small, and the share of that part."""
    image = photo.image
    region = region_of(mask, photo)
    if not region.any():
        raise ValueError("nothing is brushed yet; brush over what should be hidden")
    picture = hide(image, region, fill)
    moved = effects(model, image, picture)
    small = picture.copy()
    small.thumbnail((HIDDEN, HIDDEN))
    yield moved, small, float(region.float().mean())
