"""Small random networks of transformers with tiny tokenizers: CLIP, SigLIP and BLIP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from seewhy.models import import_torchvision

WORDS = ["<start>", "<end>", "<unk>", "a", "red", "car", "dog", "photo", "of", "the", "cat"]
CAPTION_WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "dog", "skate", "##board", "on", "the"]
CAPTION_WORDS += [f"w{index}" for index in range(len(CAPTION_WORDS), 40)]
SIDES = {
    "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
}  # fmt: skip
VISION = {**SIDES, "image_size": 32, "patch_size": 8}


def tokenizer() -> Any:
    import_torchvision()
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = {word: index for index, word in enumerate(WORDS)}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 0), ("<end>", 1)]
    )
    names = {"bos_token": "<start>", "eos_token": "<end>", "pad_token": "<end>"}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", model_max_length=12, **names
    )


def save(kind: str, folder: Path) -> Path:
    import_torchvision()
    import transformers

    sides = {
        "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }  # fmt: skip
    special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = getattr(transformers, f"{kind}Config")(
        text_config={
            **sides, **special, "vocab_size": len(WORDS), "max_position_embeddings": 12,
            **({"projection_size": 24} if kind == "Siglip" else {}),
        },
        vision_config={**sides, "image_size": 32, "patch_size": 8},
    )  # fmt: skip
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}Model")(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    size = {"height": 32, "width": 32}
    if kind == "CLIP":
        made = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size)
    else:
        made = transformers.SiglipImageProcessor(size=size)
    made.save_pretrained(folder)
    return folder


def caption_tokenizer() -> Any:
    import_torchvision()
    import transformers
    from tokenizers import Tokenizer, decoders, models

    made = Tokenizer(
        models.WordPiece({w: i for i, w in enumerate(CAPTION_WORDS)}, unk_token="[UNK]")
    )
    made.decoder = decoders.WordPiece()
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]", **names)


def alive(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def blip() -> nn.Module:
    import_torchvision()
    import transformers

    text = {
        **SIDES, "vocab_size": 40, "encoder_hidden_size": 24, "max_position_embeddings": 32,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "sep_token_id": 2,
    }  # fmt: skip
    torch.manual_seed(0)
    config = transformers.BlipConfig(text_config=text, vision_config=VISION)
    return alive(transformers.BlipForConditionalGeneration(config))
