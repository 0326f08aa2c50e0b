"""What Seewhy and three peers do with one network: passes, layers, batches, and what they leave.

python benchmarks/peers.py

Everything is run on the bundled networks, `scenes:resnet` and `scenes:vit`, and printed as one
Markdown table. Methods that take hundreds of passes or several layers are left out, and of Captum
all but the common ones. The other scripts measure costs.
"""

from __future__ import annotations

import argparse
import datetime
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata

import torch
from torch import Tensor, nn

import seewhy
from seewhy.data.scenes import Scenes
from seewhy.models import import_torchvision

import_torchvision()  # which the peers import; any build of it will do then
import captum.attr  # noqa: E402
import pytorch_grad_cam  # noqa: E402
import torchcam.methods  # noqa: E402
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget  # noqa: E402

Maps = Callable[[nn.Module, Tensor, str], Tensor]  # of a network, images (B, C, H, W), a layer

CLASS = 3
LAYER = "layer4"
TOLERANCE = 1e-3  # of a map's largest value; what is within it counts as the same map

SLOW = ("ss_cam", "is_cam", "rise", "gig_cam", "guided_integrated_gradients", "auto")
PGC = [
    "GradCAM",
    "HiResCAM",
    "GradCAMElementWise",
    "GradCAMPlusPlus",
    "XGradCAM",
    "LayerCAM",
    "EigenCAM",
    "EigenGradCAM",
    "ScoreCAM",
    "AblationCAM",
    "FullGrad",
    "KPCA_CAM",
    "FEM",
    "FinerCAM",
    "ShapleyCAM",
    "SegEigenCAM",
]
TORCH_CAM = [
    "CAM",
    "GradCAM",
    "GradCAMpp",
    "SmoothGradCAMpp",
    "XGradCAM",
    "LayerCAM",
    "ScoreCAM",
    "FinerCAM",
]
CAPTUM = [
    "Saliency",
    "InputXGradient",
    "IntegratedGradients",
    "GuidedBackprop",
    "Deconvolution",
    "DeepLift",
    "GuidedGradCam",
    "LayerGradCam",
    "LayerActivation",
    "LayerGradientXActivation",
    "Occlusion",
    "GradientShap",
    "LRP",
]


def of_pgc(name: str) -> Maps:
    """An extractor of pytorch-grad-cam, as its documentation calls it."""

    def run(model: nn.Module, x: Tensor, layer: str) -> Tensor:
        layers = [model.get_submodule(layer)]
        with getattr(pytorch_grad_cam, name)(model=model, target_layers=layers) as extract:
            targets = [ClassifierOutputTarget(CLASS) for _ in x]
            return torch.from_numpy(extract(input_tensor=x, targets=targets))

    return run


def of_torch_cam(name: str) -> Maps:
    """An extractor of torch-cam, as its documentation calls it."""

    def run(model: nn.Module, x: Tensor, layer: str) -> Tensor:
        with getattr(torchcam.methods, name)(model, layer) as extract:
            return extract(CLASS, model(x))[0]

    return run


def of_captum(name: str) -> Maps:
    """An attribution of Captum, as its documentation calls it."""
    kind = getattr(captum.attr, name)
    settings = {
        "Occlusion": {"sliding_window_shapes": (3, 32, 32), "strides": 32},
        "GradientShap": {"n_samples": 4},
    }

    def run(model: nn.Module, x: Tensor, layer: str) -> Tensor:
        takes_layer = name.startswith(("Layer", "Guided")) and name != "GuidedBackprop"
        attribution = kind(model, model.get_submodule(layer)) if takes_layer else kind(model)
        options = dict(settings.get(name, {}))
        if name == "GradientShap":
            options["baselines"] = torch.zeros_like(x[:1])
        if name == "LayerActivation":
            return attribution.attribute(x)
        return attribution.attribute(x, target=CLASS, **options)

    return run


def ours(name: str) -> Maps:
    """A method of Seewhy."""
    return lambda model, x, layer: seewhy.explain(model, x, name, CLASS, layer=layer)


LIBRARIES: dict[str, dict[str, Maps]] = {
    "Seewhy": {
        name: ours(name)
        for name in seewhy.list_methods()
        if not name.startswith(("attention", "le_grad")) and name not in SLOW
    },
    "pytorch-grad-cam": {name: of_pgc(name) for name in PGC},
    "torch-cam": {name: of_torch_cam(name) for name in TORCH_CAM},
    "Captum": {name: of_captum(name) for name in CAPTUM},
}
PLAIN = {"Seewhy": "grad_cam", "pytorch-grad-cam": "GradCAM", "torch-cam": "GradCAM"}
PLAIN["Captum"] = "LayerGradCam"


def network() -> nn.Module:
    """A new copy of the residual network, with gradients of its own and a part in training mode."""
    model = seewhy.load_model("scenes:resnet").module
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 2.0)
    return model


@contextmanager
def counted(model: nn.Module) -> Iterator[list[int]]:
    """How many forward passes the network makes inside."""
    count = [0]
    plain = type(model).forward

    def forward(self: nn.Module, *args: object) -> object:
        count[0] += 1
        return plain(self, *args)

    type(model).forward = forward
    try:
        yield count
    finally:
        type(model).forward = plain


def change(alone: Tensor, together: Tensor) -> float:
    """The largest difference of two maps, as a share of the first one's largest value."""
    return float((alone - together).abs().max() / alone.abs().max().clamp_min(1e-12))


def dependent(methods: Mapping[str, Maps], x: Tensor) -> tuple[list[str], list[str]]:
    """The methods whose map of an image changes with the rest of the batch, and those that fail."""
    changed, failed = [], []
    for name, maps in methods.items():
        try:
            torch.manual_seed(0)
            alone = maps(network(), x[:1].clone(), LAYER).detach()
            torch.manual_seed(0)
            together = maps(network(), x.clone(), LAYER).detach()[:1]
        except Exception as error:
            failed.append(f"{name} ({type(error).__name__})")
            continue
        if change(alone, together) > TOLERANCE:
            changed.append(name)
    return changed, failed


def passes(library: str, x: Tensor) -> int:
    """Forward passes for three CAMs of one batch, each called as documented."""
    model = network()
    with counted(model) as count:
        if library == "Seewhy":
            seewhy.explain(model, x, ["grad_cam", "grad_cam_plus_plus", "layer_cam"], CLASS)
        else:
            names = {
                "pytorch-grad-cam": ("GradCAM", "GradCAMPlusPlus", "LayerCAM"),
                "torch-cam": ("GradCAM", "GradCAMpp", "LayerCAM"),
                "Captum": ("LayerGradCam", "LayerActivation", "LayerGradientXActivation"),
            }[library]
            for name in names:
                LIBRARIES[library][name](model, x, LAYER)
    return count[0]


def left(library: str, x: Tensor, *, broken: bool = False) -> str:
    """What a Grad-CAM changes of the network: gradients, hooks, modes; "nothing" if so.

    broken: whether the forward pass fails in the end.
    """
    model = network()
    model.layer4.train()
    if broken:
        model.fc = nn.Linear(3, 3).eval()
    kept = [one for name, one in model.named_parameters() if not name.startswith("fc")]
    before = [module.training for module in model.modules()]
    try:
        LIBRARIES[library][PLAIN[library]](model, x, LAYER)
    except RuntimeError:
        assert broken
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    changed = {
        "`.grad`": any(one.grad is None or (one.grad != 2).any() for one in kept),
        "hooks": any(getattr(module, kind) for module in model.modules() for kind in hooks),
        "modes": [module.training for module in model.modules()] != before,
    }
    return ", ".join(name for name, is_changed in changed.items() if is_changed) or "nothing"


def on_transformer(library: str, x: Tensor) -> str:
    """The Grad-CAM of a transformer's last block, without a description of its tokens."""
    model = seewhy.load_model("scenes:vit").module
    *_, layer = seewhy.Probe(model, x, CLASS).layers
    try:
        maps = LIBRARIES[library][PLAIN[library]](model, x, layer)
    except Exception as error:
        return f"{type(error).__name__}"
    return " × ".join(map(str, maps.shape[1:]))


def main() -> None:
    scenes = Scenes(12)
    preprocess = seewhy.load_model("scenes:resnet").preprocess
    x = torch.stack([preprocess(scenes[number].image) for number in (3, 5, 8)])[..., ::2, ::2]
    rows: dict[str, list[str]] = {}
    for library, methods in LIBRARIES.items():
        changed, failed = dependent(methods, x)
        cells = {
            "forward passes for three CAMs": str(passes(library, x)),
            "methods whose map depends on the batch": f"{len(changed)} of "
            f"{len(methods) - len(failed)} ({', '.join(changed) or 'none'})",
            "failed": ", ".join(failed) or "none",
            "changed after a call": left(library, x),
            "changed after an error": left(library, x, broken=True),
            "shape of a map of a vision transformer": on_transformer(library, x),
        }
        for row, cell in cells.items():
            rows.setdefault(row, []).append(cell)
    print(f"\n| | {' | '.join(LIBRARIES)} |\n|---|{'---|' * len(LIBRARIES)}")
    for row, cells in rows.items():
        print(f"| {row} | {' | '.join(cells)} |")
    versions = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("grad-cam", "torchcam", "captum", "torch")
    )
    print(f"\n{datetime.date.today()}, {versions}: `python benchmarks/peers.py`")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    warnings.filterwarnings("ignore")
    main()
