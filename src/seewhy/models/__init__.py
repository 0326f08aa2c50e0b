"""Networks: loading them by name, and reading their outputs."""

from seewhy.models.load import (
    LoadedModel,
    ModelError,
    available_models,
    import_torchvision,
    load_model,
)

__all__ = ["LoadedModel", "ModelError", "available_models", "import_torchvision", "load_model"]
