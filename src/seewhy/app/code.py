"""The same question as Python and as a command line, ready to copy and run beside the photo."""

from __future__ import annotations

import shlex

from seewhy.app.question import Question
from seewhy.models import LoadedModel
from seewhy.models.loaded import ModelError


def as_python(question: Question) -> str:
    """A program that saves one picture for each target and method."""
    network = question.network
    given = {"weights": network.weights, "texts": list(question.texts)}
    options = "".join(f", {name}={value!r}" for name, value in given.items() if value)
    targets = [spelled(target, question.model) for target in question.targets]
    return f"""\
import seewhy
from seewhy.data.images import load_image

model = seewhy.load_model({network.model.name!r}{options})
photo = load_image({question.photo.name!r})
methods = {list(question.methods)!r}
targets = {targets!r}
(answer,) = seewhy.explain_photos(model, [photo], methods, targets)
for number, explanation in enumerate(answer.explanations):
    explanation.save(f"map-{{number}}.png")
    print(explanation.method, explanation.caption)
"""


def as_command(question: Question) -> str:
    """A command line that saves the same pictures and a gallery of them all."""
    network = question.network
    words = ["seewhy", "explain", question.photo.name, "--model", network.model.name]
    if network.weights is not None:
        words += ["--weights", network.weights]
    for text in question.texts:
        words += ["--text", text]
    for method in question.methods:
        words += ["--method", method]
    for target in question.targets:
        name = spelled(target, question.model)
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
