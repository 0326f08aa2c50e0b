"""What a network used: the change of a logit when an object is taken away."""

import torch
from torch import Tensor, nn

from seewhy.core.observing import outputs_of
from seewhy.data.preprocess import Preprocess
from seewhy.data.scenes.dataset import Scene
from seewhy.data.scenes.networks import PREPROCESS
from seewhy.data.scenes.objects import number_of


def effect(
    network: nn.Module, scene: Scene, target: str | int, *, preprocess: Preprocess = PREPROCESS
) -> Tensor:
    """logit(scene) - logit(scene without object i) for each object, (N,) in logits.

    Positive where the object is evidence for the target. One forward of N + 1 pictures in eval mode
    and without gradients; the network is left as it was.

    network: gives (B, classes) for preprocessed pictures.
    scene: the objects are numbered as in `scene.labels`.
    target: a category of the scenes, or an index of the network's outputs.
    preprocess: how the network takes pictures; by default as the bundled ones do.

    Raises ValueError if `target` is neither a category nor an index of the network's outputs.
    """
    if isinstance(target, str):
        target = number_of("target", target)
    scenes = [scene, *(scene.without(i) for i in range(len(scene.labels)))]
    first = next(network.parameters())
    inputs = torch.stack([preprocess(each.image) for each in scenes]).to(first.device, first.dtype)
    logits = outputs_of(network, inputs)
    if not 0 <= target < logits.shape[1]:
        raise ValueError(f"target: {target} is not one of the outputs 0 to {logits.shape[1] - 1}")
    chosen: Tensor = logits[:, target]
    return chosen[0] - chosen[1:]
