"""Optional packages, imported when they are used."""

import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import TypeVar

import torch

from seewhy.models.loaded import ModelError

Made = TypeVar("Made")

_torchvision_lock = threading.Lock()
# The operators live as long as this object does.
_torchvision_schemas: torch.library.Library | None = None


def import_torchvision() -> ModuleType:
    """Import torchvision, also beside a PyTorch that its compiled operators do not fit.

    PyPI's torchvision is compiled against PyPI's CUDA build of torch. Beside a CPU-only torch its
    library cannot be loaded, and the import ends at the first operator that it wants to register
    something for. Networks and transforms need none of these operators, so where the import fails
    for this reason it is repeated with the operators declared, though not implemented.

    Raises ModelError if torchvision is not installed.
    """
    global _torchvision_schemas
    with _torchvision_lock:
        try:
            return _import("torchvision", "torchvision")
        except RuntimeError as error:
            if not _lacks_operators(error):
                raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]  # what the failed import left behind
        _torchvision_schemas = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):
            _torchvision_schemas.define(  # type: ignore[no-untyped-call]
                f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
        return importlib.import_module("torchvision")


def with_torchvision(make: Callable[[], Made]) -> Made:
    """What `make` returns, which may import torchvision by itself: other people's code does.

    Where that import fails as `import_torchvision` tells, torchvision is imported properly, and
    `make` called again.
    """
    try:
        return make()
    except Exception as error:
        if not _lacks_operators(error):
            raise
    import_torchvision()
    return make()


def import_zoo(package: str, extra: str = "") -> ModuleType:
    """Import timm or transformers, which import torchvision where it is installed."""
    if importlib.util.find_spec("torchvision"):
        import_torchvision()
    return _import(package, extra or package)


def _lacks_operators(error: BaseException | None) -> bool:
    """Whether an import failed for that reason, in whatever other packages wrapped it."""
    if error is None:
        return False
    return "torchvision::nms does not exist" in str(error) or _lacks_operators(error.__cause__)


def _import(package: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ModelError(
            f'{package} is not installed; get it with: pip install "seewhy[{extra}]"'
        ) from error
