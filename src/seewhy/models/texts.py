"""Text-image networks (CLIP, SigLIP): the texts that a user gives are the classes of a picture."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seewhy.models.answers import Activation
from seewhy.models.loaded import LoadedModel, ModelError
from seewhy.options import listed


class TextScores(NamedTuple):
    """How well pictures fit texts.

    logits: (B, T), the cosines as the network scales them.
    cosines: (B, T), in [-1, 1], of the picture's embedding and each text's.
    image_embeds: (B, D), of length 1.
    texts: the T texts.
    """

    logits: Tensor
    cosines: Tensor
    image_embeds: Tensor
    texts: tuple[str, ...]


class TextImage(nn.Module):
    """The picture side of a text-image network, with the embeddings of some texts.

    The texts are embedded once; a pass costs what the picture costs.
    """

    text_embeds: Tensor

    def __init__(self, network: nn.Module, tokenizer: Any, texts: Sequence[str]) -> None:
        """Take a network and a tokenizer of transformers, and the texts.

        network: with `get_image_features`, `get_text_features` and `logit_scale`, as `CLIPModel`
            and `SiglipModel` have them. It is used as it is, in eval mode.
        texts: one or more, each as the network was trained on: "a photo of a dog".

        Raises ModelError for no texts, equal or empty ones, and texts that are too long.
        """
        super().__init__()
        given = tuple(listed(texts))
        if not given or not all(isinstance(text, str) and text.strip() for text in given):
            raise ModelError(f"texts={texts!r}; give one or more texts, none of them empty")
        if len(set(given)) < len(given):
            raise ModelError(f"texts={list(given)!r}; each can be given only once")
        missing = {"get_image_features", "get_text_features", "logit_scale"} - set(dir(network))
        if missing:
            raise ModelError(
                f"{type(network).__name__} is no text-image network as CLIP and SigLIP are: it has "
                f"no {', '.join(sorted(missing))}; take it without texts"
            )
        self.network, self.tokenizer, self.texts = network.eval(), tokenizer, given
        with torch.no_grad():
            read = network.get_text_features(**_tokens(network, tokenizer, given))  # type: ignore[operator]
        self.register_buffer("text_embeds", F.normalize(_features(read), dim=-1), persistent=False)

    def forward(self, pixel_values: Tensor, interpolate_pos_encoding: bool = False) -> TextScores:
        """Pictures (B, 3, H, W) to how well they fit each text."""
        # Not every network can interpolate.
        more = {"interpolate_pos_encoding": True} if interpolate_pos_encoding else {}
        seen = self.network.get_image_features(pixel_values=pixel_values, **more)  # type: ignore[operator]
        image = F.normalize(_features(seen), dim=-1)
        cosines = image @ self.text_embeds.to(image).T
        scale, bias = self.network.logit_scale.exp(), getattr(self.network, "logit_bias", None)  # type: ignore[operator]
        logits = cosines * scale if bias is None else cosines * scale + bias
        return TextScores(logits, cosines, image, self.texts)


def with_texts(model: LoadedModel, tokenizer: Any, texts: Sequence[str]) -> LoadedModel:
    """A loaded text-image network with texts as its classes.

    Their probabilities are those of its training: of SigLIP each text's own, of CLIP one text of
    several. Of CLIP and a single text there is none, and the number shown is the logit.
    """
    module = TextImage(model.module, tokenizer, texts).eval()
    usual = _activation(module, len(module.texts))
    return replace(model, module=module, classes=module.texts, activation=model.activation or usual)


def named(model: LoadedModel, texts: Sequence[str]) -> LoadedModel:
    """A text-image network's classes and activation with other texts, which it has not read yet.

    So their names and indices are known without a pass; `looking_for` lets the network read them.
    """
    module = model.module
    assert isinstance(module, TextImage)
    before, usual = (_activation(module, len(some)) for some in (module.texts, texts))
    kept = usual if model.activation == before else model.activation
    return replace(model, classes=tuple(texts), activation=kept)


def looking_for(model: LoadedModel, texts: Sequence[str]) -> LoadedModel:
    """A text-image network with other texts; both share its weights.

    Raises ModelError as `TextImage` does.
    """
    module = model.module
    assert isinstance(module, TextImage)
    return replace(
        named(model, texts), module=TextImage(module.network, module.tokenizer, texts).eval()
    )


def texts_of(model: LoadedModel) -> tuple[str, ...]:
    """The texts that a text-image network looks for; none of any other network."""
    return model.module.texts if isinstance(model.module, TextImage) else ()


def _activation(module: TextImage, texts: int) -> Activation:
    if getattr(module.network, "logit_bias", None) is not None:
        return "sigmoid"
    return "none" if texts == 1 else "softmax"


def _features(found: Any) -> Tensor:
    """The embeddings (N, D), which older versions of transformers return by themselves."""
    features: Tensor = found if isinstance(found, Tensor) else found.pooler_output
    return features


def _tokens(network: nn.Module, tokenizer: Any, texts: tuple[str, ...]) -> dict[str, Tensor]:
    config: Any = network.config
    limit = config.text_config.max_position_embeddings
    for text in texts:
        if (length := len(tokenizer(text)["input_ids"])) > limit:
            raise ModelError(
                f"the text {text!r} is {length} tokens long, and the network reads {limit} of them"
            )
    # SigLIP was trained on texts that are padded, without a mask.
    siglip = str(config.model_type).startswith("siglip")
    found = tokenizer(
        list(texts),
        padding="max_length" if siglip else True,
        max_length=limit,
        truncation=True,
        return_tensors="pt",
    )
    wanted = ("input_ids",) if siglip else ("input_ids", "attention_mask")
    device = next(network.parameters()).device
    return {name: found[name].to(device) for name in wanted if name in found}
