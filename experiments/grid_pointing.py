"""The grid pointing game on real photos: the share of positive attribution in the asked cell.

    python experiments/grid_pointing.py --shared ../shared --grids 16 --out /tmp/grids

For EfficientNet-Lite0 and -Lite1, MobileNetV2 and SqueezeNet, 2 x 2 grids of photos of ImageNet
that the network itself is at least 90 % sure of, the surest first; each of the four classes is
asked for. Printed are means with bootstrap 95 % intervals over grids. The same call goes on where
it was cut off.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from seewhy import LoadedModel, evaluate, load_dataset, load_model
from seewhy.data.preprocess import Preprocess
from seewhy.evaluation.grids import in_grids
from seewhy.evaluation.task import Task

METHODS = [
    "auto(effort='quick')",
    "tsgb",
    "global_guidance",
    "grad_cam",
    "xgrad_cam",
    "hires_cam",
    "eigen_grad_cam",
    "grad_cam_plus_plus",
    "layer_cam",
    "gradient",
    "input_x_gradient",
    "guided_backprop",
    "guided_grad_cam",
    "center_gaussian",
    "random",
]


def network(name: str, shared: Path) -> LoadedModel:
    """A network by name, MobileNetV2 and SqueezeNet with the weights below `shared`."""
    if name.startswith("efficientnet"):
        return load_model(f"photos:{name}")
    file, mean, std = {
        "mobilenet_v2": ("mobilenet_v2_imagenet", (0.5,) * 3, (0.5,) * 3),
        "squeezenet1_0": ("squeezenet1_0_imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    }[name]
    weights = shared / f"real/weights/{file}.safetensors"
    model = load_model(f"torchvision:{name}", weights=str(weights))
    return replace(model, preprocess=Preprocess(resize=256, crop=224, mean=mean, std=std))


def main() -> None:
    """Print a table for each network."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--grids", type=int, default=16)
    parser.add_argument("--method", action="append")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--network",
        action="append",
        choices=["efficientnet_lite0", "efficientnet_lite1", "mobilenet_v2", "squeezenet1_0"],
        required=True,
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    methods = options.method or METHODS
    for name in options.network:
        photos = load_dataset(f"grids:imagenet:{options.shared / 'real/imagenet'}")
        found = in_grids(Task(network(name, options.shared), photos, (), ()))
        chosen = found.dataset[: options.grids]
        table = evaluate(
            found.model,
            chosen,
            methods,
            ["grid_pointing"],
            batch_size=1,
            folder=options.out / f"{name} {len(methods)} {options.grids}",
        )
        summaries = sorted(table.summary(), key=lambda one: -one.mean)
        print(f"\n{name}: {len(chosen)} of {len(found.dataset)} grids", flush=True)
        for one in summaries:
            interval = f"{one.low:.3f} – {one.high:.3f}"
            print(f"| `{one.method}` | {one.mean:.3f} ({interval}) | {one.values}", flush=True)
        for failure in table.failures:
            print(failure)


if __name__ == "__main__":
    main()
