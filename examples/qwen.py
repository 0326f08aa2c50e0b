"""Why did a network of the Qwen-VL kind write this word? A map for each word of its answer.

    python examples/qwen.py PHOTO "What is this?" --model ./folder    # or a name of the hub

These networks take patches that their processor has cut, rows without a batch. The module `Cut`
takes the picture and cuts it itself, so the picture can be explained.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import seewhy
from seewhy import targets
from seewhy.data.preprocess import Preprocess
from seewhy.models import import_torchvision


class Cut(nn.Module):
    """A Qwen-VL network that takes pictures (B, 3, H, W) in place of their patches."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def patches(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """The rows (B · h · w, 3 · T · p · p) that its processor makes, and the grids (B, 3).

        A picture stands for T equal frames; patches that are merged stand beside each other.
        """
        vision = self.network.config.vision_config
        size, merged, frames = (
            vision.patch_size,
            vision.spatial_merge_size,
            vision.temporal_patch_size,
        )
        height, width = (side // size for side in picture.shape[2:])
        cut = picture.reshape(
            len(picture), 3, height // merged, merged, size, width // merged, merged, size
        )
        rows = cut.permute(0, 2, 5, 3, 6, 1, 4, 7).reshape(-1, 3, 1, size, size)
        grid = torch.tensor([[1, height, width]] * len(picture), device=picture.device)
        return rows.expand(-1, -1, frames, -1, -1).flatten(1), grid

    def forward(self, picture: Tensor, input_ids: Tensor, **others: Any) -> Any:
        """The network's outputs for pictures whose sides are multiples of the merged patch's."""
        rows, grid = self.patches(picture)
        return self.network(input_ids=input_ids, pixel_values=rows, image_grid_thw=grid, **others)


def main(arguments: list[str] | None = None) -> None:
    """Ask a real one, and write a picture for each token of its answer."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photo", type=Path)
    parser.add_argument("question")
    parser.add_argument("--model", default="Qwen/Qwen2.5-VL-3B-Instruct")
    parser.add_argument("--method", default="integrated_gradients")
    parser.add_argument("--side", type=int, default=448, help="of the picture, in pixels")
    parser.add_argument("--out", type=Path, default=Path("words"))
    options = parser.parse_args(arguments)

    import_torchvision()
    from transformers import AutoModelForImageTextToText, AutoProcessor

    network = AutoModelForImageTextToText.from_pretrained(options.model).eval()
    processor = AutoProcessor.from_pretrained(options.model)
    photo = seewhy.load_image(options.photo).resize((options.side, options.side))
    words = {"type": "text", "text": options.question}
    chat = [{"role": "user", "content": [{"type": "image"}, words]}]
    text = processor.apply_chat_template(chat, add_generation_prompt=True)
    given = processor(text=[text], images=[photo], return_tensors="pt", do_resize=False)
    with torch.no_grad():
        ids = network.generate(**given, max_new_tokens=20)

    own = processor.image_processor
    picture = Preprocess(mean=own.image_mean, std=own.image_std)(photo)[None]
    inputs = {"picture": picture, "input_ids": ids}
    probe = seewhy.Probe(Cut(network), inputs, targets.Token(), explained="picture")
    options.out.mkdir(parents=True, exist_ok=True)
    for place in range(given["input_ids"].shape[1], ids.shape[1]):
        about = probe.with_target(targets.Token(place, ids))
        (found,) = about.maps([seewhy.Method(options.method)])
        path = options.out / f"{place:03}.png"
        seewhy.overlay(photo, seewhy.normalize(found)[0]).save(path)
        print(path, processor.tokenizer.decode(ids[0, place]))


if __name__ == "__main__":
    main()
