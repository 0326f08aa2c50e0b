"""What is exported is read back by the readers that everyone uses."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seewhy.data.scenes import CATEGORIES, Scenes, export
from seewhy.models import import_torchvision

COUNT, SEED = 6, 5


@pytest.fixture(scope="module")
def scenes():
    return list(Scenes(COUNT, seed=SEED))


def test_voc_is_read_by_torchvision(tmp_path: Path, scenes):
    datasets = import_torchvision().datasets
    root = export(tmp_path / "voc", COUNT, "voc", seed=SEED)
    detection = datasets.VOCDetection(root, "2012", "val")
    segmentation = datasets.VOCSegmentation(root, "2012", "val")
    assert len(detection) == len(segmentation) == COUNT
    for scene, (image, note), (_, classes) in zip(scenes, detection, segmentation, strict=True):
        assert np.abs(np.asarray(image, float) - np.asarray(scene.image)).mean() < 4
        found = note["annotation"]["object"]
        assert [item["name"] for item in found] == list(scene.labels)
        boxes = [
            [int(item["bndbox"][side]) for side in ("xmin", "ymin", "xmax", "ymax")]
            for item in found
        ]
        # VOC counts from 1, ends inclusive.
        assert np.array_equal(np.array(boxes) - [1, 1, 0, 0], scene.boxes)
        label_image = np.asarray(classes)
        for label, mask in zip(scene.labels, scene.masks, strict=True):
            inside = label_image[mask]
            assert set(np.unique(inside)) <= {CATEGORIES.index(label) + 1, 255}
            assert (inside != 255).mean() > 0.3
        assert set(np.unique(label_image[~scene.masks.any(axis=0)])) <= {0, 255}


def test_voc_lists_say_which_pictures_hold_a_category(tmp_path: Path, scenes):
    root = export(tmp_path / "voc", COUNT, "voc", seed=SEED) / "VOCdevkit/VOC2012"
    for category in CATEGORIES:
        lines = (root / "ImageSets/Main" / f"{category}_val.txt").read_text().splitlines()
        told = {name: int(value) for name, value in (line.split() for line in lines)}
        assert told == {s.key: 1 if category in s.labels else -1 for s in scenes}


def test_coco_is_read_by_pycocotools_and_torchvision(tmp_path: Path, scenes):
    coco = pytest.importorskip("pycocotools.coco")
    root = export(tmp_path / "coco", COUNT, "coco", seed=SEED)
    notes = root / "annotations/instances.json"
    table = coco.COCO(str(notes))
    names = {c["id"]: c["name"] for c in table.loadCats(table.getCatIds())}
    assert list(names.values()) == list(CATEGORIES)
    for scene in scenes:
        found = table.loadAnns(table.getAnnIds(imgIds=scene.index))
        assert [names[item["category_id"]] for item in found] == list(scene.labels)
        for item, mask, box in zip(found, scene.masks, scene.boxes, strict=True):
            assert np.array_equal(table.annToMask(item).astype(bool), mask)
            assert item["area"] == mask.sum()
            x, y, w, h = item["bbox"]
            assert [x, y, x + w, y + h] == box.tolist()
    dataset = import_torchvision().datasets.CocoDetection(str(root / "images"), str(notes))
    assert len(dataset) == COUNT
    image, found = dataset[2]
    assert image.size == (128, 128)
    assert len(found) == len(scenes[2].labels)


def test_folder_holds_pictures_masks_and_a_table(tmp_path: Path, scenes):
    root = export(tmp_path / "folder", COUNT, "folder", seed=SEED)
    with (root / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    for scene, row in zip(scenes, rows, strict=True):
        assert {c for c in CATEGORIES if row[c] == "1"} == set(scene.labels)
        image = np.asarray(Image.open(root / "images" / row["file"]))
        masks = np.asarray(Image.open(root / "masks" / row["file"]))
        assert np.array_equal(image, np.asarray(scene.image))
        for i, mask in enumerate(scene.masks, 1):
            assert np.array_equal(masks == i, mask)


def test_the_same_files_every_time(tmp_path: Path):
    for layout in ("voc", "coco", "folder"):
        first, second = (export(tmp_path / f"{layout}{k}", 2, layout, size=64) for k in (1, 2))
        files = sorted(p.relative_to(first) for p in first.rglob("*") if p.is_file())
        assert files == sorted(p.relative_to(second) for p in second.rglob("*") if p.is_file())
        assert all((first / f).read_bytes() == (second / f).read_bytes() for f in files)


def test_an_unknown_layout_writes_nothing(tmp_path: Path):
    with pytest.raises(ValueError, match=r"'yolo' is unknown; choose one of voc, coco, folder"):
        export(tmp_path / "x", 1, "yolo")
    assert not (tmp_path / "x").exists()


def test_files_that_are_there_stay(tmp_path: Path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="name a new one"):
        export(tmp_path, 1, "voc")
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_directory_is_used(tmp_path: Path):
    assert (export(tmp_path, 1, "folder", size=64) / "labels.csv").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of a file's size")
@pytest.mark.parametrize("layout", ["voc", "coco", "folder"])
def test_a_full_disk_leaves_no_part_of_a_file(tmp_path: Path, layout):
    """Of a JPEG it takes the beginning, and Pillow alone would say nothing."""
    code = (
        "import resource, sys\n"
        "from seewhy.data.scenes import export\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "export(sys.argv[1], 1, sys.argv[2], size=256)\n"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "out"), layout]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert "cannot be written (File too large)" in done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_side_that_would_fill_the_memory_is_refused(tmp_path):
    with pytest.raises(ValueError, match="size: 1000000 is too large; at most 8192"):
        export(tmp_path / "scenes", 1, size=1_000_000)
    assert not (tmp_path / "scenes").exists()
