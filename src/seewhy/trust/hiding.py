"""Hide a region of a photo, and compare the network's probabilities before and after."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from seewhy.core.observing import outputs_of
from seewhy.core.outputs import logits
from seewhy.draw.overlays import check_mask
from seewhy.fills import filled
from seewhy.metrics import linear_imputation
from seewhy.models import LoadedModel
from seewhy.models.loaded import check_score_per_class
from seewhy.options import Count, checking

Fill = Literal["grey", "blur", "inpaint"]

GREY = (128, 128, 128)
"""Close to the mean colour that networks are normalised by, so it speaks for no class."""

_SIDE = 256  # pixels of the longer side at which blur and inpainting, which are smooth, are made


@checking
def hide(photo: Image.Image, region: Tensor, fill: Fill = "grey") -> Image.Image:
    """The photo with a region hidden, RGB at the photo's size; all other pixels are unchanged.

    photo: RGB, as `seewhy.load_image` returns it.
    region: (H, W) bool at the photo's size, True where it is hidden. If nothing is hidden, the
        photo is returned unchanged.
    fill: "grey" is mid grey, close to the mean colour of most networks' training photos; "blur" is
        a Gaussian blur of a tenth of the shorter side, which keeps the colours of large objects;
        "inpaint" continues the surroundings by ROAD's linear imputation. The last two are computed
        at 256 pixels of the longer side and enlarged.

    Raises ValueError for a region of another shape or type, an unknown fill, and inpainting if
    everything is hidden.
    """
    region = check_mask("region", region, photo)
    if not region.any():
        return photo
    if fill == "grey":
        filling = Image.new("RGB", photo.size, GREY)
    elif fill == "blur":
        filling = _stretched(filled(_shrunk(_pixels(photo)), "blurred"), photo)
    elif region.all():
        raise ValueError("region hides the whole photo: nothing is left to inpaint it from")
    else:
        filling = _stretched(_inpainted(_pixels(photo), ~region), photo)
    return Image.composite(filling, photo.convert("RGB"), Image.fromarray(region.numpy()))


@dataclass(frozen=True)
class Effect:
    """A class's probability, 0 to 1, on a photo before and after a part of it is hidden.

    Of a network with the activation "none" it is the output itself.
    """

    class_index: int
    name: str
    before: float
    after: float


@checking
def effects(
    model: LoadedModel, photo: Image.Image, hidden: Image.Image, top: Count = 5
) -> list[Effect]:
    """How the probabilities change from one picture to another of the same size.

    Returns the `top` classes with the highest probability on either picture. This is one forward
    pass of two pictures in eval mode; the network is left unchanged.

    Raises ValueError for `top` below 1, pictures of different sizes, or a network without one score
    per class.
    """
    if photo.size != hidden.size:
        raise ValueError(
            f"hidden has {hidden.width}x{hidden.height} pixels, the photo "
            f"{photo.width}x{photo.height}; give pictures of one size"
        )
    inputs = torch.stack([model.preprocess(picture) for picture in (photo, hidden)])
    outputs = outputs_of(model.module, inputs.to(model.device))
    check_score_per_class(model, outputs)
    before, after = model.probabilities(logits(outputs)).cpu()
    likeliest = torch.maximum(before, after).topk(min(top, len(before))).indices.tolist()
    return [
        Effect(index, model.class_name(index), float(before[index]), float(after[index]))
        for index in likeliest
    ]


def _pixels(photo: Image.Image) -> Tensor:
    """(1, 3, H, W) float in [0, 255]."""
    return torch.from_numpy(np.array(photo.convert("RGB"))).permute(2, 0, 1)[None].float()


def _shrunk(images: Tensor) -> Tensor:
    """Means of blocks, so that the longer side has at most `_SIDE`."""
    shrink = min(1.0, _SIDE / max(images.shape[-2:]))
    height, width = (max(1, round(side * shrink)) for side in images.shape[-2:])
    return F.adaptive_avg_pool2d(images, (height, width))


def _inpainted(pixels: Tensor, visible: Tensor) -> Tensor:
    """Small, and of the visible pixels alone: nothing hidden shines through."""
    share = _shrunk(visible[None, None].float())
    means = _shrunk(pixels * visible) / share.clamp_min(torch.finfo(share.dtype).tiny)
    return linear_imputation(means, share[:, 0] == 0)


def _stretched(small: Tensor, photo: Image.Image) -> Image.Image:
    pixels = small[0].clamp(0, 255).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(pixels).resize(photo.size, Image.Resampling.BILINEAR)
