"""Networks: loading them by name, and reading their outputs."""

from seewhy.models.load import available_models, load_model
from seewhy.models.loaded import LoadedModel, ModelError
from seewhy.models.packages import import_torchvision

__all__ = ["LoadedModel", "ModelError", "available_models", "import_torchvision", "load_model"]
