"""Networks from the zoos and from your own factories.

Each zoo is one entry of `ZOOS`, found by the prefix of the specification; its package is imported
when its functions are called.
"""

import copy
import importlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from PIL import Image
from torch import Tensor, nn

from seewhy.data.imagenet import imagenet_classes
from seewhy.data.preprocess import Preprocess
from seewhy.data.scenes.networks import ARCHITECTURES, PREPROCESS, build, load_network
from seewhy.data.scenes.objects import CATEGORIES
from seewhy.models.efficientnet_lite import VARIANTS, EfficientNetLite, pretrained_state
from seewhy.models.loaded import IMAGENET_PREPROCESS, LoadedModel, ModelError
from seewhy.models.packages import import_torchvision, import_zoo, with_torchvision
from seewhy.notes import note
from seewhy.options import near

Build = Callable[..., LoadedModel | nn.Module]
"""`(name, *, pretrained, num_classes)`: builds a network by its name in the zoo, if asked for with
another number of classes; with the zoo's preprocessing and class names as far as there are any.
With another number of classes the names are not used."""


@dataclass(frozen=True)
class Zoo:
    """A source of networks, and the names of those that it has, where it can list them."""

    function: Build
    names: Callable[[], Sequence[str]] | None = None


def _torchvision(name: str, *, pretrained: bool, num_classes: int | None) -> LoadedModel:
    torchvision = import_torchvision()
    names = _torchvision_names()
    if name not in names:
        raise ModelError(f"torchvision has no network {name!r}{near(name, names)}")
    weights = torchvision.models.get_model_weights(name).DEFAULT
    options: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    if name in torchvision.models.list_models(module=torchvision.models.segmentation):
        options |= {"weights_backbone": None}  # which torchvision would download
    if not pretrained and name in ("googlenet", "inception_v3"):
        # What torchvision itself sets for their pretrained weights, which want another
        # normalisation than their transforms give. Second heads serve training alone: files may
        # have them or not.
        options |= {"transform_input": True, "init_weights": False, "aux_logits": False}
    with _fetching(f"torchvision:{name}", pretrained):
        module = torchvision.models.get_model(
            name, weights=weights if pretrained else None, **options
        )
    transforms = weights.transforms()
    (resize,) = transforms.resize_size
    (crop,) = getattr(transforms, "crop_size", [None])  # segmentation takes the whole photo
    preprocess = Preprocess(
        resize, crop, transforms.mean, transforms.std, transforms.interpolation.value
    )
    return LoadedModel(module, preprocess, tuple(weights.meta["categories"]))


def _torchvision_names() -> list[str]:
    """Names of its classification and segmentation networks."""
    models = import_torchvision().models
    return [name for zoo in (models, models.segmentation) for name in models.list_models(zoo)]


def _timm(name: str, *, pretrained: bool, num_classes: int | None) -> LoadedModel:
    timm = import_zoo("timm")
    # A colon leads elsewhere, as in hf-hub:owner/name, and timm itself knows where.
    if ":" not in name and not timm.is_model(name):
        names = timm.list_models() + timm.list_pretrained()
        raise ModelError(f"timm has no network {name!r}{near(name, names)}")
    options = {} if num_classes is None else {"num_classes": num_classes}
    with _fetching(f"timm:{name}", pretrained):
        module = timm.create_model(name, pretrained=pretrained, **options)
    config = timm.data.resolve_model_data_config(module)
    channels, *size = config["input_size"]
    height, width = (math.floor(side / config["crop_pct"]) for side in size)
    squash = config["crop_mode"] == "squash" or height != width
    subset = timm.data.infer_imagenet_subset(module)
    preprocess = Preprocess(
        resize=(height, width) if squash else height,
        crop=size,
        mean=config["mean"],
        std=config["std"],
        interpolation=config["interpolation"],
        channels=channels,
    )
    # Of other than squares timm keeps the photo's shape, and cuts what both sides leave over.
    if config["crop_mode"] != "squash" and (config["crop_mode"] != "center" or height != width):
        way = f"crop_mode={config['crop_mode']!r} to {size[0]}x{size[1]}"
        _approximated(f"timm:{name}", way, preprocess)
    return LoadedModel(
        module,
        preprocess,
        tuple(timm.data.ImageNetInfo(subset).label_descriptions()) if subset else (),
    )


def _hf(name: str, *, pretrained: bool, num_classes: int | None) -> LoadedModel:
    config, processor = from_hub(name, "Config"), from_hub(name, "ImageProcessor")
    if num_classes is not None:
        config.num_labels = num_classes
    factory = import_zoo("transformers", "hf").AutoModelForImageClassification
    missing: list[str] = []
    with _fetching(f"hf:{name}"):
        if pretrained:
            module, report = factory.from_pretrained(name, config=config, output_loading_info=True)
            missing = sorted(report["missing_keys"])
        else:
            module = factory.from_config(config)
    if missing:
        raise ModelError(
            f"hf:{name} has no weights for {', '.join(missing[:3])}; it is no finished image "
            "classifier, choose one that is; or, of a text-image network such as CLIP, say what to "
            "look for: texts=['a red car', 'a dog'] (--text)"
        )
    return LoadedModel(
        module,
        _hf_preprocess(name, processor, getattr(config, "num_channels", 3)),
        tuple(str(config.id2label[index]) for index in range(config.num_labels)),
        activation="sigmoid" if config.problem_type == "multi_label_classification" else None,
    )


def hf_text_image(name: str, *, pretrained: bool, num_classes: int | None) -> LoadedModel:
    """A text-image network of transformers, such as CLIP; `with_texts` gives it texts."""
    config, processor = from_hub(name, "Config"), from_hub(name, "ImageProcessor")
    if pretrained:
        module = from_hub(name, "Model")
    else:
        module = import_zoo("transformers", "hf").AutoModel.from_config(config)
    return LoadedModel(module, _hf_preprocess(name, processor, 3))


def reads_texts(spec: str) -> bool:
    """Whether a specification is that of a text-image network of transformers, by its config."""
    zoo, _, name = spec.partition(":")
    if zoo != "hf" or not name:
        return False
    config = from_hub(name, "Config")
    made_for = " ".join(config.architectures or ())
    return hasattr(config, "text_config") and "ForImageClassification" not in made_for


def from_hub(name: str, kind: str) -> Any:
    """What an Auto class of transformers loads of a network: its "Config", "Tokenizer", …"""
    transformers = import_zoo("transformers", "hf")
    with _fetching(f"hf:{name}"):
        return getattr(transformers, f"Auto{kind}").from_pretrained(name)


def _hf_preprocess(name: str, processor: Any, channels: int) -> Preprocess:
    def run(picture: Image.Image) -> Tensor:
        values: Tensor = processor(picture, return_tensors="pt")["pixel_values"][0]
        if values.ndim != 3:
            raise ModelError(
                f"hf:{name}: its {type(processor).__name__} makes {tuple(values.shape)} of a photo;"
                " give a network that takes a whole picture (C, H, W), not its patches or tiles"
            )
        return values

    # Processors differ in how they scale and normalise, but each maps a channel linearly, and so
    # their answers to black and to white tell mean and standard deviation.
    mode = "L" if channels == 1 else "RGB"
    black, white = (run(Image.new(mode, (64, 64), colour)) for colour in ("black", "white"))
    centre = (..., black.shape[-2] // 2, black.shape[-1] // 2)
    std = 1 / (white - black)[centre].double()
    mean = -black[centre] * std
    fields = processor.to_dict()
    resize = _hf_size(fields.get("size"))
    crop = _hf_size(fields.get("crop_size")) if fields.get("do_center_crop") else None
    if fields.get("crop_pct") and isinstance(resize, int):  # ConvNeXt and ResNet
        if resize < 384:
            resize, crop = int(resize / fields["crop_pct"]), resize
        else:
            resize = (resize, resize)
    preprocess = Preprocess(
        resize=resize if fields.get("do_resize") else None,
        crop=crop,
        mean=tuple(round(value, 6) for value in mean.tolist()),
        std=tuple(round(value, 6) for value in std.tolist()),
        interpolation=Image.Resampling(fields["resample"]).name.lower(),  # type: ignore[arg-type]
        channels=channels,
    )
    # Of channels that differ, as some networks take blue first.
    grey = Image.linear_gradient("L").resize((480, 360))
    picture = grey.rotate(30)
    if mode == "RGB":
        picture = Image.merge(mode, [grey.rotate(angle) for angle in (30, 150, 270)])
    expected, actual = run(picture), preprocess(picture)
    if expected.shape != actual.shape or (expected - actual).abs().mean() * std.mean() > 0.01:
        _approximated(f"hf:{name}", type(processor).__name__, preprocess)
    return preprocess


def _approximated(spec: str, way: str, preprocess: Preprocess) -> None:
    """Note that a zoo's own preprocessing is another one."""
    note(
        f"{spec} prepares images in its own way ({way}), which {preprocess} only approximates; "
        "give preprocess= if you know better"
    )


def _hf_size(size: Mapping[str, int] | None) -> int | tuple[int, int] | None:
    if not size or not (size.get("shortest_edge") or size.get("height")):
        return None
    return size.get("shortest_edge") or (size["height"], size["width"])


def _scenes(name: str, *, pretrained: bool, num_classes: int | None) -> LoadedModel:
    if name not in ARCHITECTURES:
        known = ", ".join(f"scenes:{known}" for known in ARCHITECTURES)
        raise ModelError(f"no bundled network is called {name!r}; there are {known}")
    module = load_network(name)[0] if pretrained else build(name)
    return LoadedModel(module, PREPROCESS, CATEGORIES, activation="sigmoid")


def _photos(name: str, *, pretrained: bool, num_classes: int | None) -> LoadedModel:
    if name not in VARIANTS:
        raise ModelError(f"photos has no network {name!r}; give one of {', '.join(VARIANTS)}")
    module = EfficientNetLite(name, num_classes or 1000)
    if pretrained:
        module.load_state_dict(pretrained_state(name))
    side = VARIANTS[name][-1]
    preprocess = Preprocess(side + 32, side, 127, 128, "bicubic")
    return LoadedModel(module, preprocess, tuple(imagenet_classes().values()))


ZOOS: dict[str, Zoo] = {
    "photos": Zoo(_photos, lambda: list(VARIANTS)),
    "scenes": Zoo(_scenes, lambda: list(ARCHITECTURES)),
    "torchvision": Zoo(_torchvision, _torchvision_names),
    "timm": Zoo(_timm, lambda: list(import_zoo("timm").list_models())),
    "hf": Zoo(_hf),
}


def own_network(module: str, name: str) -> Any:
    """What stands behind the user's `module:name`.

    `name` is a network or a function or class that makes one. A network is copied, so that theirs
    stays as it is.
    """
    spec = f"{module}:{name}"
    try:
        imported = with_torchvision(lambda: _import(module, spec))
        made = getattr(imported, name, None)
        if isinstance(made, nn.Module | LoadedModel):
            return copy.deepcopy(made)
        if callable(made):
            return with_torchvision(made)
    except SystemExit as error:  # a script without a guard around its main part
        raise ModelError(f"model {spec!r}: it ends the process (SystemExit: {error})") from error
    raise ModelError(
        f"model {spec!r}: {module} has no network {name!r}, nor a function that returns one"
        f"{near(name, [one for one in vars(imported) if one[0] != '_' and one != name])}"
    )


def as_loaded(made: Any, spec: str) -> LoadedModel:
    """What a function returned for a network, with the preprocessing that it has or is assumed."""
    if isinstance(made, LoadedModel):
        return made
    if not isinstance(made, nn.Module):
        raise ModelError(
            f"model {spec!r}: its function returned {type(made).__name__}; "
            "it must return an nn.Module or a seewhy.LoadedModel"
        )
    preprocess = getattr(made, "preprocess", None)
    if not isinstance(preprocess, Preprocess):
        preprocess = assumed(channels_of(made))
    return LoadedModel(made, preprocess)


def _import(module: str, spec: str) -> ModuleType:
    unknown = ModelError(
        f"model {spec!r}: {module!r} is neither one of {', '.join(ZOOS)} nor a Python module "
        f"on the path{_without_suffix(module, spec) or near(module, ZOOS)}"
    )
    if module.startswith("."):
        raise unknown
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise  # the module exists, and something that it imports does not
        raise unknown from error


def _without_suffix(module: str, spec: str) -> str:
    """The end of an error message about a file that was named instead of its module."""
    path, name = Path(module), spec.partition(":")[2]
    if path.suffix != ".py":
        return ""
    where = "" if path.parent == Path() else f", in the folder {path.parent} or with it on the path"
    return f"; write {path.stem}:{name}, without .py{where}"


@cache
def assumed(channels: int) -> Preprocess:
    """ImageNet's usual preprocessing, for a network of so many channels that says nothing of it."""
    if channels == 3:
        return IMAGENET_PREPROCESS
    mean, std = (sum(v) / 3 for v in (IMAGENET_PREPROCESS.mean, IMAGENET_PREPROCESS.std))
    return Preprocess(256, 224, (mean,) * channels, (std,) * channels, channels=channels)


def channels_of(module: nn.Module) -> int:
    """How many channels the network's first convolution takes; 3 where there is none."""
    convolutions = (m for m in module.modules() if isinstance(m, nn.Conv2d))
    return next((m.in_channels for m in convolutions if m.in_channels), 3)  # a lazy one has none


@contextmanager
def _fetching(spec: str, downloads: bool = True) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # each zoo has its own errors for a missing network
        if not downloads:
            raise
        reason = f"{type(error).__name__}: {error}".strip().partition("\n")[0]
        local = ", or a local folder, hf:./folder" if spec.startswith("hf:") else ""
        raise ModelError(
            f"{spec} could not be fetched ({reason}). Where there is no connection, give the "
            f"weights as a file, weights=FILE (--weights FILE){local}"
        ) from error
