"""Cost of the perturbation methods, in bare forward passes of the same network, in one run.

    python benchmarks/perturbation_cost.py [--network resnet50] [--masks 64] [--score-cam]
    python benchmarks/perturbation_cost.py --device cuda --masks 1000 --score-cam

What a method costs beside its forward passes is the excess over 1: its time, divided by that of
as many images through the bare network at the batch size that suits the device best. The last
table has Ablation-CAM in forward passes of its batch. Captum's occlusion and torch-cam's Score-CAM
stand beside ours.
"""

from __future__ import annotations

import torch
from timing import Run, clock, measure, parser, prepare, show

import seewhy
from seewhy import Method, Probe
from seewhy.core.targets import Probability, TargetLike
from seewhy.methods.ablation_cam import falls
from seewhy.models import import_torchvision


def bare(model: torch.nn.Module, x: torch.Tensor, batch: int, count: int) -> Run:
    """`count` images through the network, `batch` at a time."""
    images = x[:1].expand(batch, -1, -1, -1).contiguous()

    def run() -> None:
        with torch.no_grad():
            for start in range(0, count, batch):
                model(images[: min(batch, count - start)])

    return run


def best_batch(model: torch.nn.Module, x: torch.Tensor, count: int) -> int:
    """The batch size at which the bare network is fastest per image."""
    read = clock(x.device)

    def seconds(batch: int) -> float:
        run = bare(model, x, batch, batch)
        times = []
        for _ in range(4):  # the first is a warm-up
            start = read()
            run()
            times.append(read() - start)
        return min(times[1:]) / batch

    sizes = (4, 8, 16, 32, 64) if x.device.type == "cpu" else (16, 32, 64, 128, 256)
    return min((batch for batch in sizes if batch <= count), key=seconds)


def captum_occlusion(model: torch.nn.Module, x: torch.Tensor, side: int, batch: int) -> Run:
    """Captum's, of squares side by side, as many images at a time as the bare network takes."""

    def run() -> None:
        from captum.attr import Occlusion

        window = (x.shape[1], side, side)
        at_once = max(1, batch // len(x))
        Occlusion(model).attribute(
            x,
            sliding_window_shapes=window,
            strides=window,
            target=1,
            perturbations_per_eval=at_once,
        )

    return run


def torch_cam_score_cam(model: torch.nn.Module, x: torch.Tensor, layer: str, batch: int) -> Run:
    def run() -> None:
        from torchcam.methods import ScoreCAM

        with torch.no_grad(), ScoreCAM(model, layer, batch_size=batch) as extract:
            extract(1, model(x))

    return run


def main() -> None:
    arguments = parser(__doc__, batch=2, rounds=5)
    arguments.add_argument("--network", default="resnet50", help="a torchvision classifier")
    arguments.add_argument("--size", type=int, default=224)
    arguments.add_argument("--masks", type=int, default=64, help="masks of RISE")
    arguments.add_argument("--score-cam", action="store_true", help="also Score-CAM, with K passes")
    options = arguments.parse_args()
    device = prepare(options)
    model = import_torchvision().models.get_model(options.network, weights=None).eval().to(device)
    x = torch.randn(options.batch, 3, options.size, options.size).to(device)
    probe = Probe(model, x, 1)
    layer, channels = probe.layers[0], probe.activations().shape[1]
    batch = best_batch(model, x, options.masks * options.batch)

    def explained(method: Method, target: TargetLike = 1) -> Run:
        return lambda: seewhy.explain(model, x, method, target)

    # 16 positions of a patch of a quarter of the image.
    quarter = options.size // 4
    # What is timed, and how often each image is shown to the network for it.
    tables: list[tuple[int, dict[str, Run]]] = [
        (
            options.masks,
            {f"rise, {options.masks} masks": explained(Method("rise", masks=options.masks))},
        ),
        (
            16,
            {
                "occlusion, 16 places": explained(
                    Method("occlusion", patch=quarter, stride=quarter)
                ),
                "captum occlusion": captum_occlusion(model, x, quarter, batch),
            },
        ),
    ]
    if options.score_cam:
        score_cams = {
            f"score_cam, {channels} channels": explained(Method("score_cam")),
            "torch-cam ScoreCAM": torch_cam_score_cam(model, x, layer, batch),
        }
        tables.append((channels, score_cams))
    for passes, timed in tables:
        count = options.batch * (passes + 1)
        base = bare(model, x, batch, count)
        seconds, rows = measure(base, {"F": base, **timed}, options)
        title = f"{options.network}, F = {count} images, {batch} at a time"
        show(title, rows, seconds, options)

    tail = Method("ablation_cam")
    base = bare(model, x, len(x), len(x))
    timed = {
        "F": base,
        f"ablation_cam of a logit, {layer}": explained(tail),
        f"ablation_cam of a probability, {channels} tails": explained(tail, Probability(1)),
    }
    seconds, rows = measure(base, timed, options)
    show(f"{options.network}, batch {options.batch}", rows, seconds, options)
    closed = falls(Probe(model, x, 1), layer)
    print(f"Affine head: {probe.affine()}; largest fall {float(closed.max()):.3g}")


if __name__ == "__main__":
    main()
