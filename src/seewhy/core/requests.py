"""The layers that a user asks for: names, modules, and which call of them."""

import difflib
from collections.abc import Sequence

from torch import nn

from seewhy.core.observing import is_scripted, named_modules
from seewhy.options import shown

LayerLike = str | nn.Module | Sequence[str | nn.Module] | None
# A module's name and which of its calls, counted from 1; None is any.
Request = tuple[str, int | None]


def layer_requests(model: nn.Module, layer: LayerLike) -> tuple[Request, ...] | None:
    """The layers that a user named or handed over; None where the choice is left to the probe.

    Raises ValueError for what is not part of the model.
    """
    if layer is None:
        return None
    if not isinstance(layer, str | nn.Module | Sequence):
        raise TypeError(
            f"layer is a {type(layer).__name__}; it should be a name, a module or a list of these"
        )
    wanted = [layer] if isinstance(layer, str | nn.Module) else list(layer)
    if strange := [item for item in wanted if not isinstance(item, str | nn.Module)]:
        raise TypeError(f"layer holds {shown(strange[0])}; it should be names or modules")
    if not wanted:
        return ()
    by_module = {module: name for module, name in named_modules(model).items() if name}
    by_name = {name: module for module, name in by_module.items()}
    named = [item.partition("#")[0] for item in wanted if isinstance(item, str)]
    if not all(name in by_name for name in named):
        # A module may go by several names; the first is its own. Compiled parts go by their
        # originals'.
        by_name = {
            name.replace("_orig_mod.", ""): module
            for name, module in model.named_modules(remove_duplicate=False)
        }
    requests: list[Request] = []
    for item in wanted:
        if isinstance(item, nn.Module):
            if item not in by_module:
                raise ValueError(
                    f"layer {type(item).__name__} is not one of the model's submodules"
                )
            requests.append((by_module[item], None))
            continue
        name, mark, number = item.replace("_orig_mod.", "").partition("#")
        module = by_name.get(name)
        if module is None or module not in by_module:
            hint = _hint(model, name, list(by_module.values()))
            raise ValueError(f"the model has no layer {shown(item)}; {hint}")
        if mark and not (number.isdecimal() and int(number) > 0):
            raise ValueError(
                f"layer {shown(item)}: behind '#' it should have the number of the call, from 1"
            )
        requests.append((by_module[module], int(number) if number else None))
    return tuple(requests)


def _hint(model: nn.Module, name: str, names: list[str]) -> str:
    """What could have been asked for in place of a name that no layer has."""
    if is_scripted(model):
        return "it is scripted, which may hide its layers: explain the original module"
    if close := difflib.get_close_matches(name, names, n=3):
        return f"did you mean {', '.join(close)}?"
    parts = [part for part, _ in model.named_children()]
    return f"its parts are {', '.join(parts[:12])}{' …' * (len(parts) > 12)}"


def asked_layers(model: nn.Module, layer: LayerLike) -> tuple[Request, ...] | None:
    """As `layer_requests`, of a user: an empty list is a ValueError, and not "no layer"."""
    requests = layer_requests(model, layer)
    if requests == ():
        raise ValueError("layer is an empty list; name at least one layer, or give None")
    return requests


def layer_names(model: nn.Module, layer: LayerLike) -> tuple[str, ...] | None:
    """The layers that a user asked for as names, which fit copies of the network too; or None."""
    return spelled(asked_layers(model, layer) or ()) or None


def spelled(requests: Sequence[Request]) -> tuple[str, ...]:
    """The layers as they would be asked for: `relu#2`, or `relu`."""
    return tuple(f"{name}#{number}" if number else name for name, number in requests)
