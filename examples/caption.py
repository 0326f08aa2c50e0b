"""Why did the network write this word? A map for each word of a caption.

    python examples/caption.py PHOTO                              # BLIP, fetched from its hub
    python examples/caption.py PHOTO --model ./folder --out words

A network that writes captions takes the picture and the words so far. The picture is what is
explained, and each word is a target: its score, given the words before it. All words share one
forward pass.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import seewhy
from seewhy import targets
from seewhy.models import import_torchvision

METHOD = "attention_x_gradient"  # at the last attention of the words to the patches


def words_of(ids: list[int], tokenizer: Any) -> list[str]:
    """The words of a caption, without special tokens; pieces of a word are put together."""
    return str(tokenizer.decode(ids, skip_special_tokens=True)).split()


@torch.no_grad()
def caption(model: torch.nn.Module, pixels: torch.Tensor, longest: int = 20) -> torch.Tensor:
    """The token ids (1, L) that the network writes about a picture (1, 3, H, W)."""
    return model.generate(pixel_values=pixels, max_length=longest)


def explain_words(
    model: torch.nn.Module,
    pixels: torch.Tensor,
    ids: torch.Tensor,
    tokenizer: Any,
    method: str = METHOD,
) -> dict[str, torch.Tensor]:
    """A map (H, W) for each word of a caption; of a word that occurs twice the first one counts."""
    inputs = {"pixel_values": pixels, "input_ids": ids}
    probe = seewhy.Probe(model, inputs, targets.Token(), explained="pixel_values")
    maps = {}
    for word in words_of(ids[0].tolist(), tokenizer):
        about = probe.with_target(targets.Token(word, ids, tokenizer))
        (found,) = about.maps([seewhy.Method(method)])
        maps[word] = seewhy.normalize(
            torch.nn.functional.interpolate(found[None], pixels.shape[2:], mode="bilinear")[0, 0]
        )
    return maps


def main(arguments: list[str] | None = None) -> None:
    """Write a picture for each word."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo", type=Path)
    parser.add_argument("--model", default="Salesforce/blip-image-captioning-base")
    parser.add_argument("--method", default=METHOD)
    parser.add_argument("--out", type=Path, default=Path("words"))
    options = parser.parse_args(arguments)

    import_torchvision()
    from transformers import AutoImageProcessor, AutoTokenizer, BlipForConditionalGeneration

    model = BlipForConditionalGeneration.from_pretrained(options.model).eval()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    processor = AutoImageProcessor.from_pretrained(options.model)

    photo = seewhy.load_image(options.photo)
    pixels = processor(photo, return_tensors="pt")["pixel_values"]
    ids = caption(model, pixels)
    maps = explain_words(model, pixels, ids, tokenizer, options.method)
    print(" ".join(words_of(ids[0].tolist(), tokenizer)))
    options.out.mkdir(parents=True, exist_ok=True)
    size = (pixels.shape[3], pixels.shape[2])
    for place, (word, saliency) in enumerate(maps.items()):
        name = "".join(letter for letter in word if letter.isalnum()) or "word"
        path = options.out / f"{place:02}-{name}.png"
        seewhy.overlay(photo.resize(size, Image.Resampling.BILINEAR), saliency).save(path)
        print(path)


if __name__ == "__main__":
    main()
