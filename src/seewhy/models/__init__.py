"""Networks: loading them by name, and reading their outputs."""

from seewhy.models.load import DEFAULT_MODEL, list_models, load_model
from seewhy.models.loaded import LoadedModel, ModelError
from seewhy.models.packages import import_torchvision

__all__ = [
    "DEFAULT_MODEL",
    "LoadedModel",
    "ModelError",
    "import_torchvision",
    "list_models",
    "load_model",
]
