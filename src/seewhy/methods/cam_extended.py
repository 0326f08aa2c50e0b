"""CAMs that need more than activations and gradients: the head, other classes, noisy images, or
second derivatives.
"""

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from seewhy.core.layers import Call
from seewhy.core.outputs import logits
from seewhy.core.probe import Probe
from seewhy.core.targets import Class, Score
from seewhy.core.targets.classes import pick
from seewhy.maps import averaged, means, of_images, sums, wide
from seewhy.methods.cam import weighted_layers, weights_of_derivatives
from seewhy.naming import method, parse
from seewhy.noise import noisy_copies
from seewhy.options import Count, NotNegative, Range, Seed
from seewhy.progress import tracked


@method("Zhou et al. 2016, CAM, eq. 2", "F + h")
def cam(probe: Probe) -> Tensor:
    """Σ_k w_k A_k with the classifier's own weights, signed.

    If the score is affine in A and all positions have equal weight, such as a logit with global
    average pooling + Linear, w_k = Σ_ij G_k is the Linear's weight.

    Raises ValueError for other heads.
    """
    maps = []
    for layer in probe.layer_calls:
        gradients = probe.gradients(layer)
        mean = of_images(means(gradients), gradients)
        # Places may differ by rounding.
        alike = (gradients - mean).abs().max() <= 1e-2 * gradients.abs().max()
        if not (probe.affine(layer) and alike):
            raise ValueError(
                f"CAM needs global average pooling and one linear layer behind "
                f"{', '.join(probe.layers)!r}, and a logit as the target; 'grad_cam' is the same "
                "map there and works for every head"
            )
        activations = probe.activations(layer)
        weights = sums(gradients).to(activations)
        maps.append(torch.einsum("bk,bk...->b...", weights, activations))
    return averaged(maps, probe.size)


@method("Zhang et al. 2025, Finer-CAM", "F + h")
def finer_cam(
    probe: Probe,
    *,
    references: Annotated[int, Range(least=1)] | None = None,
    strength: Annotated[float, Range(least=-1e6, most=1e6)] = 0.6,
    base: Annotated[str, parse] = "grad_cam",
) -> Tensor:
    """A CAM of y_c - strength · the mean logit of the classes with the nearest logits.

    This subtracts what the class shares with similar classes. pytorch-grad-cam weights the classes
    by their probabilities, with gradients through these weights.

    references: how many classes; by default 3, or all others of a network with fewer.
    strength: the weight of their mean logit; 0 gives the CAM of the class itself.
    base: the name of the CAM, which may have options and refinements.

    Raises ValueError for targets other than a class, and for options out of range.
    """
    classes = tuple(explained_classes(probe, "finer_cam"))
    scores = probe.logits
    others = scores.shape[1] - 1
    if not others:
        raise ValueError(
            "finer_cam compares a class with others, and the network has one class alone; use its "
            "base by itself, such as 'grad_cam'"
        )
    references = min(3, others) if references is None else references
    if not 1 <= references <= others:
        raise ValueError(
            f"references={references}; of {others + 1} classes it should be from 1 to {others}"
        )
    own = torch.tensor(classes, device=scores.device)[:, None]
    distances = (scores - scores.gather(1, own)).abs().scatter(1, own, torch.inf)
    nearest = distances.topk(references, dim=1, largest=False).indices

    def finer(outputs: Any) -> Tensor:
        scores = logits(outputs)
        return pick(scores, classes) - strength * scores.gather(1, nearest).mean(1)

    return parse(base)(probe.with_target(probe.target.asking(Score(finer))))


@method("Cai 2025, CAMs as Shapley value-based explainers (ShapleyCAM)", "F + 2h")
def shapley_cam(probe: Probe, *, utility: Literal["rest", "score"] = "rest") -> Tensor:
    """relu(Σ_k w_k A_k), w_k = mean_ij (G - ½ (∂²score/∂A²) A)_k: Shapley values to second order.

    utility: "rest" explains y_c + log p_c of a class (the paper's residual softmax), "score" the
        target itself. If that is piecewise linear, as logits of many networks are, the map equals
        Grad-CAM's.

    Raises ValueError for "rest" with targets other than a class.
    """
    if utility == "rest":
        classes = tuple(explained_classes(probe, "shapley_cam(utility='rest')"))

        def rest(outputs: Any) -> Tensor:
            scores = logits(outputs)
            return pick(scores + scores.log_softmax(1), classes)

        probe = probe.with_target(probe.target.asking(Score(rest)))
    return weighted_layers(
        probe, lambda layer: means(probe.gradients(layer) - probe.hessian_product(layer) / 2)
    )


@method("Omeiza et al. 2019, Smooth Grad-CAM++", "F + N (F + h)")
def smooth_grad_cam_plus_plus(
    probe: Probe,
    *,
    samples: Count = 8,
    noise: NotNegative = 0.15,
    seed: Seed = 0,
    eps: NotNegative = 1e-6,
) -> Tensor:
    """Grad-CAM++ with the derivatives averaged over noisy copies of the image.

    Weights and map use the activations of the image itself. torch-cam uses the activations and the
    gradient of the last noisy copy alone, and adds up A ⊙ D³ over positions where the paper has
    ΣA · D³.

    samples: noisy copies.
    noise: standard deviation as a share of each image's range of values.
    seed: of the noise, which is the same for all images.
    eps: as in `grad_cam_plus_plus`.
    """
    derivatives = {
        layer: [torch.zeros_like(wide(probe.activations(layer))) for _ in range(3)]
        for layer in probe.layer_calls
    }
    copies = noisy_copies(probe.inputs, samples, noise, seed)
    for copy in tracked("Smooth Grad-CAM++", copies, samples):
        at = probe.with_inputs(copy)
        for layer, means_of_powers in derivatives.items():
            gradients = wide(at.gradients(layer))
            for power, mean in enumerate(means_of_powers, 1):
                mean += gradients**power / samples

    def weights_of(layer: Call) -> Tensor:
        first, second, third = derivatives[layer]
        return weights_of_derivatives(probe.activations(layer), first, second, third, eps)

    return weighted_layers(probe, weights_of)


def explained_classes(probe: Probe, what: str) -> list[int]:
    """The class of each image; a ValueError where the target is something else."""
    target = probe.target.question
    if not isinstance(target, Class):
        raise ValueError(f"{what} explains one class per image, not {type(target).__name__}")
    probe.scored()  # raises for a class out of range
    count = len(probe.inputs)
    return [target.classes] * count if isinstance(target.classes, int) else [*target.classes]
