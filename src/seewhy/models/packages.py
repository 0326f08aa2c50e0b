"""Optional packages, imported when they are used."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from types import ModuleType

import torch

from seewhy.models.loaded import ModelError

_torchvision_lock = threading.Lock()
# The operators live as long as this object does.
_torchvision_schemas: torch.library.Library | None = None


def import_torchvision() -> ModuleType:
    """Import torchvision, also beside a PyTorch that its compiled operators do not fit.

    PyPI's torchvision is compiled against PyPI's CUDA build of torch. Beside a CPU-only torch its
    library cannot be loaded, and the import ends at the first operator that it wants to register
    something for. Networks and transforms need none of these operators, so where the import fails
    for this reason it is repeated with the operators declared, though not implemented.

    Raises:
        ModelError: torchvision is not installed.
    """
    global _torchvision_schemas
    with _torchvision_lock:
        try:
            return _import("torchvision", "torchvision")
        except RuntimeError as error:
            if "torchvision::nms does not exist" not in str(error):
                raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]  # what the failed import left behind
        _torchvision_schemas = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):
            _torchvision_schemas.define(  # type: ignore[no-untyped-call]
                f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
        return importlib.import_module("torchvision")


def import_zoo(package: str, extra: str = "") -> ModuleType:
    """Import timm or transformers, which import torchvision where it is installed."""
    if importlib.util.find_spec("torchvision"):
        import_torchvision()
    return _import(package, extra or package)


def _import(package: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ModelError(
            f'{package} is not installed; get it with: pip install "seewhy[{extra}]"'
        ) from error
