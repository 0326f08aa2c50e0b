"""The same query as Python and as a command line, ready to copy and run beside the photo."""

import shlex

from seewhy.app.query import Query
from seewhy.models import LoadedModel
from seewhy.models.loaded import ModelError


def as_python(query: Query) -> str:
    """A program that saves one picture for each target and method."""
    network = query.network
    given = {"weights": network.weights, "texts": list(query.texts)}
    options = "".join(f", {name}={value!r}" for name, value in given.items() if value)
    targets = [spelled(target, query.model) for target in query.targets]
    return f"""\
import seewhy
from seewhy.data.images import load_image

model = seewhy.load_model({network.model.name!r}{options})
photo = load_image({query.photo.name!r})
methods = {list(query.methods)!r}
targets = {targets!r}
(answer,) = seewhy.explain_photos(model, [photo], methods, targets)
for number, explanation in enumerate(answer.explanations):
    explanation.save(f"map-{{number}}.png")
    print(explanation.method, explanation.caption)
"""


def as_command(query: Query) -> str:
    """A command line that saves the same pictures and a gallery of them all."""
    network = query.network
    words = ["seewhy", "explain", query.photo.name, "--model", network.model.name]
    if network.weights is not None:
        words += ["--weights", network.weights]
    for text in query.texts:
        words += ["--text", text]
    for method in query.methods:
        words += ["--method", method]
    for target in query.targets:
        name = spelled(target, query.model)
        words += ["--target", "top1" if name is None else str(name)]
    return shlex.join([*words, "--out", "maps"])


def spelled(target: int | None, model: LoadedModel) -> str | int | None:
    """A class by its name where that means it alone, else by its index."""
    if target is None:
        return None
    name = model.class_name(target)
    try:
        return name if model.class_index(name) == target else target
    except ModelError:  # several classes of that name, or no names at all
        return target
