"""Chunks of long runs: by size, and halved where memory does not suffice."""

from __future__ import annotations

import pytest
import torch

import seewhy
from networks import Cnn, images, seeded
from seewhy.progress import in_chunks, watching


class Late(BaseException):
    pass


@pytest.mark.parametrize(
    "method",
    [
        "gradient+sharpen(thresholds=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7))",
        "grad_cam+multiscale(scales=(1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6))",
        "guided_integrated_gradients(steps=7)", "gig_cam(steps=7)", "rise(masks=7, batch_size=1)",
        "smooth_grad_cam_plus_plus(samples=7)", "gradient+smooth(samples=7)", 
        "score_cam(batch_size=1)",
    ],
)  # fmt: skip
def test_whatever_runs_the_network_often_can_be_ended(method):
    passes = 0

    def watcher(*_):
        if passes >= 4:
            raise Late

    class Counted(Cnn):
        def forward(self, x):
            nonlocal passes
            passes += 1
            return super().forward(x)

    with watching(watcher), pytest.raises(Late):
        seewhy.explain(seeded(Counted), images(1), method, 1)
    assert passes == 4


class Small(Cnn):
    """A network on a device that holds few images at a time."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.sizes: list[int] = []

    def forward(self, x):
        self.sizes.append(len(x))
        if len(x) > self.limit:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return super().forward(x)


@pytest.mark.parametrize("method", ["rise(masks=40)", "occlusion", "score_cam", "is_cam(steps=3)"])
def test_out_of_memory_halves_the_chunk_with_one_warning(method):
    model, x = seeded(Small, 10**6), images(2)
    expected = seewhy.explain(model, x, method, 1)
    model.limit, model.sizes = 5, []
    with pytest.warns(RuntimeWarning, match="out of memory") as warnings:
        found = seewhy.explain(model, x, method, 1)
    assert len(warnings) == 1
    assert torch.allclose(found, expected, atol=1e-5)
    worked = [size for size in model.sizes[1:] if size <= 5]
    assert set(worked[:-1]) == {4} or set(worked[:-1]) == {2}
    assert model.sizes[1:] == sorted(model.sizes[1:], reverse=True)


@pytest.mark.filterwarnings("ignore:.*out of memory")
def test_not_even_one_version_at_a_time_is_an_error():
    model = seeded(Small, 10**6)
    probe = seewhy.Probe(model, images(2), 1)
    probe.logits  # noqa: B018 - runs the pass
    model.limit = 1
    with pytest.raises(torch.cuda.OutOfMemoryError):
        seewhy.Method("rise", masks=20)(probe)


def test_a_batch_size_that_was_asked_for_is_kept():
    model = seeded(Small, 10**6)
    seewhy.explain(model, images(2), "rise(masks=20, batch_size=6)", 1)
    assert model.sizes == [2] + [6] * 6 + [4]
    model.limit = 5
    with pytest.raises(torch.cuda.OutOfMemoryError):
        seewhy.explain(model, images(2), "rise(masks=20, batch_size=6)", 1)


def test_chunks_by_size_and_their_reports():
    image = torch.zeros(2, 3, 224, 224)
    with watching(lambda *report: reports.append(report)):
        reports: list[tuple[str, int, int]] = []
        parts = list(in_chunks("counting", lambda part: part, 11, image, "auto"))
    assert parts == [slice(start, min(start + 2, 11)) for start in range(0, 11, 2)]
    assert reports == [("counting", part.stop, 11) for part in parts]
    assert list(in_chunks("counting", lambda part: part, 11, image.to("meta"), "auto")) == [
        slice(0, 11)
    ]
    with pytest.raises(ValueError, match="batch_size=0"):
        list(in_chunks("counting", lambda part: part, 11, image, 0))


class OnCuda:
    """So much of images on an accelerator as the choice of a batch looks at."""

    device = torch.device("cuda", 0)

    def __init__(self, images: int) -> None:
        self._images = torch.empty(images, 3, 224, 224, device="meta")

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, place: int) -> torch.Tensor:
        return self._images[place]

    def numel(self) -> int:
        return self._images.numel()


class Gpu:
    """The counters of an accelerator on which each image asks for some memory."""

    def __init__(self, monkeypatch, *, free: int, cached: int = 0, image: int, most: int = 10**9):
        self.free, self.cached, self.image, self.most = free, cached, image, most
        self.sizes: list[int] = []
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (self.free, 10**12))
        monkeypatch.setattr(torch.cuda, "memory_stats", self.counts)

    def counts(self, device: torch.device) -> dict[str, int]:
        return {
            "allocated_bytes.all.allocated": self.image * sum(self.sizes),
            "allocated_bytes.all.current": 1000,
            "reserved_bytes.all.current": 1000 + self.cached,
        }

    def run(self, inputs: OnCuda, count: int, batch_size: int | str = "auto") -> list[int]:
        """How many images each part holds, of those that fit."""

        def one(part: slice) -> int:
            size = (part.stop - part.start) * len(inputs)
            if size > self.most:
                raise torch.cuda.OutOfMemoryError("out of memory")
            self.sizes.append(size)
            return size

        return list(in_chunks("counting", one, count, inputs, batch_size))


@pytest.mark.parametrize(
    ("memory", "images", "expected"),
    [
        ({"free": 80 * 10**9, "image": 2 * 10**8}, 1, [32, 200, 200, 68]),
        ({"free": 60 * 10**9, "cached": 20 * 10**9, "image": 2 * 10**8}, 1, [32, 200, 200, 68]),
        ({"free": 80 * 10**9, "image": 10**6}, 1, [32, 256, 212]),  # the cap
        ({"free": 80 * 10**9, "image": 2 * 10**8}, 50, [50, 200, 200, 50]),
        ({"free": 8 * 10**9, "image": 2 * 10**8}, 2, [32] * 15 + [20]),  # never fewer than worked
    ],
)
def test_on_an_accelerator_free_memory_says_how_large_the_chunks_are(
    memory, images, expected, monkeypatch
):
    assert Gpu(monkeypatch, **memory).run(OnCuda(images), 500 // images) == expected


def test_chunks_sized_by_memory_are_halved_too_and_chosen_ones_are_kept(monkeypatch):
    memory = {"free": 80 * 10**9, "image": 2 * 10**8}
    with pytest.warns(RuntimeWarning, match="200 images at once"):
        assert Gpu(monkeypatch, **memory, most=100).run(OnCuda(1), 182) == [32, 100, 50]
    assert Gpu(monkeypatch, **memory).run(OnCuda(1), 20, 8) == [8, 8, 4]
