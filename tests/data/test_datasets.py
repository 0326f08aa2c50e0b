"""Datasets: scenes written in the standard layouts are read back, and damage is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seewhy.data.class_map import classes_by_name, read_class_map
from seewhy.data.dataset import Dataset, DatasetError
from seewhy.data.images import ImageError
from seewhy.data.load import READERS, Reader, load_dataset
from seewhy.data.scenes import Scenes, export

COUNT, SEED = 3, 5


@pytest.fixture(scope="module")
def scenes():
    return list(Scenes(COUNT, seed=SEED))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The same scenes in every layout. Tests that damage something write their own."""
    folder = tmp_path_factory.mktemp("layouts")
    for layout in ("voc", "coco"):
        export(folder / layout, COUNT, layout, seed=SEED)
    return folder


@pytest.mark.parametrize("layout", ["voc", "coco", "scenes"])
def test_what_is_drawn_is_what_is_annotated(root, scenes, layout):
    pytest.importorskip("pycocotools")
    spec, options = (f"scenes:{COUNT}", {"seed": SEED}) if layout == "scenes" else (
        f"{layout}:{root / layout}", {})  # fmt: skip
    dataset = load_dataset(spec, **options)
    assert [Path(key).stem for key in dataset.keys] == [scene.key for scene in scenes]
    for sample, scene in zip(dataset, scenes, strict=True):
        assert sample.image.size == (scene.size, scene.size)
        difference = np.asarray(sample.image, float) - np.asarray(scene.image)
        assert np.abs(difference).mean() < 4  # of JPEG
        assert [one.label for one in sample.annotations] == list(dict.fromkeys(scene.labels))
        for one in sample.annotations:
            own = np.array(scene.labels) == one.label
            assert one.boxes.tolist() == scene.boxes[own].tolist()
            drawn = torch.from_numpy(scene.masks[own].any(0))
            if layout == "voc":  # all but the outline, which is of no class
                assert not (one.mask & ~drawn).any()
                assert one.mask.sum() > 0.5 * drawn.sum()
            else:
                assert torch.equal(one.mask, drawn)


def test_a_dataset_is_read_sample_by_sample(root):
    dataset = load_dataset(f"voc:{root / 'voc'}")
    assert len(dataset) == COUNT
    assert dataset[1:].keys == dataset.keys[1:]
    assert dataset[-1].key == dataset.keys[-1]
    seen = []
    lazy = type(dataset)("n", dataset.keys, lambda key: seen.append(key) or dataset.read(key))
    assert lazy[1].key == dataset.keys[1]
    assert seen == [dataset.keys[1]]
    with pytest.raises(IndexError):
        dataset[COUNT]


def test_damage_is_named_and_harms_no_other_sample(tmp_path):
    year = export(tmp_path / "voc", COUNT, "voc", seed=SEED) / "VOCdevkit/VOC2012"
    dataset = load_dataset(f"voc:{year}")
    first, second, third = dataset.keys
    (year / "JPEGImages" / f"{first}.jpg").unlink()
    (year / "Annotations" / f"{second}.xml").write_text("<annotation><object>")
    with pytest.raises(ImageError, match=rf"{first}\.jpg"):
        dataset[0]
    with pytest.raises(DatasetError, match=rf"{second}\.xml: no annotation"):
        dataset[1]
    assert dataset[2].annotations
    Image.new("RGB", (30, 20)).save(year / "JPEGImages" / f"{third}.jpg")
    with pytest.raises(DatasetError, match=r"128x128 pixels, but the photo has 30x20"):
        dataset[2]
    (year / "Annotations" / f"{second}.xml").unlink()
    with pytest.raises(DatasetError, match=r"no such file"):
        dataset[1]


def test_voc_by_hand(tmp_path):
    """Corners counted from 1, ends included; flags; two years side by side; lists of two kinds."""
    year = tmp_path / "VOC2007"
    for name in ("JPEGImages", "Annotations", "ImageSets/Main", "ImageSets/Segmentation"):
        (year / name).mkdir(parents=True)
    Image.new("RGB", (60, 40)).save(year / "JPEGImages/000001.jpg")
    objects = "".join(
        f"<object><name>{name}</name><difficult>{flag}</difficult><bndbox><xmin>{x}</xmin>"
        f"<ymin>1</ymin><xmax>{x + 9}</xmax><ymax>20</ymax></bndbox></object>"
        for name, flag, x in (("cat", 0, 1), ("dog", 0, 11), ("cat", 1, 51))
    )
    (year / "Annotations/000001.xml").write_text(
        f"<annotation><size><width>60</width><height>40</height></size>{objects}</annotation>"
    )
    (year / "ImageSets/Main/test.txt").write_text("000001\n")
    (year / "ImageSets/Main/cat_test.txt").write_text("000001  1\n")
    (year / "ImageSets/Segmentation/val.txt").write_text("")
    (sample,) = load_dataset(f"voc:{tmp_path}", split="test")
    cat, dog = sample.annotations
    assert (cat.label, dog.label) == ("cat", "dog")
    assert cat.boxes.tolist() == [[0, 0, 10, 20], [50, 0, 60, 20]]
    assert cat.mask is None
    assert len(load_dataset(f"voc:{year}", split="Segmentation/val")) == 0
    with pytest.raises(DatasetError, match=r"val.txt: no such list; there are test, Segm"):
        load_dataset(f"voc:{year}")
    (tmp_path / "VOC2012/JPEGImages").mkdir(parents=True)
    with pytest.raises(DatasetError, match="holds VOC2007, VOC2012; give the folder of one year"):
        load_dataset(f"voc:{tmp_path}", split="test")


@pytest.fixture
def one_of_voc(tmp_path):
    """A function that writes a photo of 60x40 with a cat, whose corner and encoding are given."""
    for name in ("JPEGImages", "Annotations", "SegmentationObject", "ImageSets/Main"):
        (tmp_path / name).mkdir(parents=True)
    Image.new("RGB", (60, 40)).save(tmp_path / "JPEGImages/a.jpg")
    (tmp_path / "ImageSets/Main/val.txt").write_text("a\n")

    def write(
        xmin: str = "1",
        ymin: str = "1",
        xmax: str = "9",
        ymax: str = "20",
        encoding: str = "utf-8",
        name: str = "<name>cat</name>",
    ) -> Dataset:
        (tmp_path / "Annotations/a.xml").write_text(
            f'<?xml version="1.0" encoding="{encoding}"?><annotation><size><width>60</width>'
            f"<height>40</height></size><object>{name}<bndbox><xmin>{xmin}</xmin>"
            f"<ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox></object>"
            "</annotation>"
        )
        return load_dataset(f"voc:{tmp_path}")

    return write


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"xmin": "nan"}, "bndbox/xmin of <object> is nan"),
        ({"xmin": "1e999"}, "bndbox/xmin of <object> is 1e999"),
        ({"xmin": "11"}, "a bndbox ends before it begins: 11, 1, 9, 20"),
        ({"ymin": "21"}, "a bndbox ends before it begins: 1, 21, 9, 20"),
        ({"name": ""}, "<object> has no name"),
        ({"name": "<name> </name>"}, "<object> has no name"),
        ({"encoding": "nonsense"}, "unknown encoding: nonsense"),
        ({"encoding": "base64"}, "not a text encoding"),
    ],
)
def test_a_broken_annotation_of_voc_is_named(one_of_voc, changed, why):
    with pytest.raises(DatasetError, match=rf"a\.xml: no annotation in PASCAL VOC's XML .*{why}"):
        one_of_voc(**changed)[0]


@pytest.mark.parametrize(
    ("x", "y", "inside"),
    [
        (60, 5, False),
        (5, 40, False),
        (-10, 5, False),
        (5, -20, False),
        (59, 39, True),
        (-9, -19, True),
    ],
)
def test_a_box_of_voc_outside_of_the_photo_is_named(one_of_voc, x, y, inside):
    """Of 10x20 pixels, beside a photo of 60x40 or partly on it."""
    dataset = one_of_voc(*map(str, (x + 1, y + 1, x + 10, y + 20)))
    if inside:
        assert dataset[0].annotations[0].boxes.tolist() == [[x, y, x + 10, y + 20]]
    else:
        with pytest.raises(DatasetError, match=r"a\.xml: the bndbox .* lies outside of the photo"):
            dataset[0]


def test_a_list_of_voc_says_which_photos_have_the_category(one_of_voc, tmp_path):
    """1 of those that have it, 0 where it is difficult, -1 of the others, which were there, too."""
    one_of_voc()
    (tmp_path / "ImageSets/Main/cat_val.txt").write_text("a  1\nb -1\nc  0\n")
    assert load_dataset(f"voc:{tmp_path}", split="cat_val").keys == ("a", "c")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "1", "I;16"])
def test_outlines_of_voc_without_numbers_of_objects_are_named(one_of_voc, tmp_path, mode):
    """As those that were saved in colours: of the pixels' three numbers each made a mask."""
    Image.new(mode, (60, 40)).save(tmp_path / "SegmentationObject/a.png")
    with pytest.raises(DatasetError, match=r"a\.png: has no number of an object at each pixel"):
        one_of_voc()[0]


def test_objects_of_voc_without_a_number_have_no_mask(one_of_voc, tmp_path):
    """255 is the band around outlines, and the numbers of 8 bits end there: 256 was nothing's 0."""
    one_of_voc()
    note = tmp_path / "Annotations/a.xml"
    start, cat = note.read_text().removesuffix("</annotation>").split("<object>")
    many = ["cat"] * 253 + ["last", "band", "none", "more"]
    objects = (f"<object>{cat}".replace("cat", name) for name in many)
    note.write_text(f"{start}{''.join(objects)}</annotation>")
    numbers = np.zeros((40, 60), np.uint8)
    numbers[0, :3], numbers[1] = 254, 255
    Image.fromarray(numbers).save(tmp_path / "SegmentationObject/a.png")
    masks = {one.label: one.mask for one in load_dataset(f"voc:{tmp_path}")[0].annotations}
    assert int(masks["last"].sum()) == 3
    assert [name for name, mask in masks.items() if mask is None] == ["band", "none", "more"]


@pytest.fixture
def one_instance(tmp_path):
    """A function that writes a photo of 40x30 with an instance of COCO, some of it changed."""
    pytest.importorskip("pycocotools")
    (tmp_path / "images").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "images/a.png")

    def write(*photos: str, **changed: object) -> str:
        outline = [[5, 5, 15, 5, 15, 15]]
        usual = {"id": 7, "image_id": 0, "category_id": 1, "bbox": [5, 5, 10, 10]}
        images = [
            {"id": number, "file_name": name, "width": 40, "height": 30}
            for number, name in enumerate(photos or ["a.png"])
        ]
        table = {
            "images": images,
            "annotations": [{**usual, "segmentation": outline, "iscrowd": 0, **changed}],
            "categories": [{"id": 1, "name": "cat"}],
        }
        (tmp_path / "instances.json").write_text(json.dumps(table))
        return f"coco:{tmp_path}"

    return write


@pytest.mark.parametrize("bbox", [[39, 29, 10, 10], [-9, -9, 10, 10], [40, 5, 0, 10]])
def test_a_box_of_coco_at_the_edge_is_taken(one_instance, bbox):
    """And one without an area, as there are a few in COCO."""
    x, y, width, height = bbox
    (annotation,) = load_dataset(one_instance(bbox=bbox))[0].annotations
    assert annotation.boxes.tolist() == [[x, y, x + width, y + height]]


@pytest.mark.parametrize("outline", [[], None])
def test_coco_without_an_outline_has_the_box(one_instance, outline):
    (annotation,) = load_dataset(one_instance(segmentation=outline))[0].annotations
    assert annotation.boxes.tolist() == [[5, 5, 15, 15]]
    assert annotation.mask is None


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"category_id": 9}, "KeyError"),
        ({"bbox": [5, 5, 10]}, "expected 4, got 3"),
        ({"segmentation": [[5, 5]]}, "not supported"),
        ({"bbox": [5, float("nan"), 10, 10]}, "its bbox is"),
        ({"bbox": [15, 5, -10, 10]}, "its bbox is"),
        ({"bbox": [5, 15, 10, -10]}, "its bbox is"),
        ({"bbox": [40, 5, 10, 10]}, "its bbox lies outside of the photo"),
        ({"bbox": [5, -10, 10, 10]}, "its bbox lies outside of the photo"),
        ({"segmentation": [[5, 5, 15, 5, 15, 15, 5, 15, 9]]}, "an odd number of coordinates"),
        ({"segmentation": [[5, 5, 9e3, 5, 5, 9e3]]}, "its outline leads far beyond the photo"),
        ({"segmentation": [[5, 5, 9, float("nan"), 5, 9]]}, "its outline leads far"),
        ({"segmentation": {"size": [3, 4], "counts": [2, 10]}}, "its mask has 4x3 pixels"),
        ({"segmentation": {"size": [30, 40], "counts": [5, 5]}}, "runs of its mask have 10 pixels"),
        ({"segmentation": {"size": [30, 40], "counts": "05"}}, "runs of its mask have 5 pixels"),
    ],
)
def test_a_broken_instance_of_coco_is_named(one_instance, changed, why):
    dataset = load_dataset(one_instance(**changed))
    said = rf"instances\.json: the annotation with the id 7, of a\.png, .*{why}"
    with pytest.raises(DatasetError, match=said):
        dataset[0]


def test_compressed_masks_of_coco_are_taken(one_instance):
    from pycocotools import mask as coder

    drawn = np.random.default_rng(0).random((30, 40)) < 0.1
    drawn[5:25, 10:30] = True
    counts = coder.encode(np.asfortranarray(drawn.astype(np.uint8)))["counts"].decode()
    dataset = load_dataset(one_instance(segmentation={"size": [30, 40], "counts": counts}))
    assert torch.equal(dataset[0].annotations[0].mask, torch.from_numpy(drawn))


def test_two_images_of_coco_with_one_file_are_refused(one_instance):
    """Else the annotations of one of them would be left out without a word."""
    with pytest.raises(DatasetError, match="2 images have the file_name"):
        load_dataset(one_instance("a.png", "a.png"))


@pytest.mark.parametrize(
    ("part", "field"), [("images", {"file_name": "b.png"}), ("categories", {"name": "dog"})]
)
def test_images_or_categories_of_coco_with_one_id_are_refused(one_instance, part, field):
    """The instance was given to the last of them."""
    spec = one_instance()
    path = Path(spec.removeprefix("coco:")) / "instances.json"
    table = json.loads(path.read_text())
    table[part] *= 2  # the same said twice
    path.write_text(json.dumps(table))
    assert [one.label for one in load_dataset(spec)[0].annotations] == ["cat"]
    table[part][1] = {**table[part][0], **field}
    path.write_text(json.dumps(table))
    with pytest.raises(DatasetError, match=rf"instances\.json: .*several {part} have the id"):
        load_dataset(spec)


def test_coco_in_its_own_layout(root, tmp_path):
    """annotations/instances_SPLIT.json beside a folder SPLIT, and a photo without instances."""
    pytest.importorskip("pycocotools")
    table = json.loads((root / "coco/annotations/instances.json").read_text())
    polygon = {"id": 10**6, "image_id": table["images"][0]["id"], "category_id": 1, "iscrowd": 0,
               "bbox": [10.0, 20, 30, 40], "area": 1200,
               "segmentation": [[10, 20, 40, 20, 40, 60, 10, 60]]}  # fmt: skip
    table["annotations"] = [polygon]
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_val2014.json").write_text(json.dumps(table))
    (tmp_path / "val2014").symlink_to(root / "coco/images")
    dataset = load_dataset(f"coco:{tmp_path}", split="val2014")
    assert dataset.region == "masks"
    (sample,) = dataset  # the other photos hold nothing
    (only,) = sample.annotations
    assert only.boxes.tolist() == [[10, 20, 40, 60]]
    expected = torch.zeros(128, 128, dtype=torch.bool)
    expected[20:60, 10:40] = True
    assert torch.equal(only.mask, expected)
    with pytest.raises(DatasetError, match=r"instances_val2017.json: no such file"):
        load_dataset(f"coco:{tmp_path}")
    (tmp_path / "annotations/instances_val2014.json").write_text("[]")
    with pytest.raises(DatasetError, match="no instances as COCO"):
        load_dataset(f"coco:{tmp_path}", split="val2014")


XML = (
    "<annotation><size><width>50</width><height>40</height></size><object><name>{wnid}</name>"
    "<bndbox><xmin>5</xmin><ymin>5</ymin><xmax>20</xmax><ymax>30</ymax></bndbox></object>"
    "</annotation>"
)


def test_imagenet_in_both_layouts(tmp_path):
    cock, tench = "n01514668", "n01440764"
    synsets = f"{tench} tench, Tinca tinca\n{cock} cock\n"
    flat = tmp_path / "devkit"
    (flat / "Data/CLS-LOC/val").mkdir(parents=True)
    (flat / "Annotations/CLS-LOC/val").mkdir(parents=True)
    (flat / "LOC_synset_mapping.txt").write_text(synsets)
    by_class = tmp_path / "folders"
    (by_class / "val" / cock).mkdir(parents=True)
    (by_class / "synset_words.txt").write_text(synsets)
    photo = Image.new("RGB", (50, 40))
    photo.save(flat / "Data/CLS-LOC/val/ILSVRC2012_val_00000001.JPEG")
    photo.save(flat / "Data/CLS-LOC/val/ILSVRC2012_val_00000002.JPEG")
    photo.save(by_class / "val" / cock / "ILSVRC2012_val_00000001.JPEG")
    notes = flat / "Annotations/CLS-LOC/val/ILSVRC2012_val_00000001.xml"
    notes.write_text(XML.format(wnid=cock))

    boxed = load_dataset(f"imagenet:{flat}")
    assert boxed.classes == {tench: (0,), cock: (1,)}
    (annotation,) = boxed[0].annotations
    assert annotation.label == cock
    assert annotation.boxes.tolist() == [[4, 4, 20, 30]]
    with pytest.raises(DatasetError, match=r"0002\.JPEG: neither its folder, an annotation"):
        boxed[1]
    (sample,) = load_dataset(f"imagenet:{by_class}")
    assert sample.annotations[0].label == cock
    assert sample.annotations[0].boxes.shape == (0, 4)


def devkit(root, truth):
    """The development kit as it is distributed, for three leaves and what is above them."""
    io = pytest.importorskip("scipy.io")
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    rows = [
        (1, "n02119789", "kit fox", 0),
        (2, "n01440764", "tench", 0),
        (3, "n01514668", "cock", 0),
        (4, "n00001740", "entity", 3),
    ]
    data = root / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    io.savemat(data / "meta.mat", {"synsets": np.array(rows, dtype=fields)[:, None]})
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text(truth)
    (root / "val").mkdir()
    for place in (1, 2):
        Image.new("RGB", (50, 40)).save(root / f"val/ILSVRC2012_val_{place:08d}.JPEG")
    return data


def test_imagenet_with_its_development_kit(tmp_path):
    devkit(tmp_path, "3\n1\n")
    found = load_dataset(f"imagenet:{tmp_path}")
    assert found.classes == {"n01440764": (0,), "n01514668": (1,), "n02119789": (2,)}
    assert [sample.annotations[0].label for sample in found] == ["n01514668", "n02119789"]


def test_a_broken_development_kit_is_named(tmp_path):
    data = devkit(tmp_path, "3\n9\n")
    with pytest.raises(DatasetError, match=r"ground_truth\.txt: line 2 is '9'"):
        load_dataset(f"imagenet:{tmp_path}")
    (data / "meta.mat").write_bytes(b"no such thing")
    with pytest.raises(DatasetError, match=r"meta\.mat: cannot be read"):
        load_dataset(f"imagenet:{tmp_path}")
    (data / "meta.mat").unlink()
    with pytest.raises(DatasetError, match=r"meta\.mat: no such file"):
        load_dataset(f"imagenet:{tmp_path}")


def test_imagenet_with_names_that_several_classes_have(tmp_path):
    """Each with its own annotation; a name that is there once is the key as ever."""
    for wnid in ("n01440764", "n01514668"):
        (tmp_path / "val" / wnid).mkdir(parents=True)
        Image.new("RGB", (50, 40)).save(tmp_path / f"val/{wnid}/1.JPEG")
    Image.new("RGB", (50, 40)).save(tmp_path / "val/n01514668/2.JPEG")
    (tmp_path / "Annotations/val/n01514668").mkdir(parents=True)
    note = tmp_path / "Annotations/val/n01514668/1.xml"
    note.write_text(XML.format(wnid="n01514668"))
    found = load_dataset(f"imagenet:{tmp_path}")
    assert found.keys == ("2", "n01440764/1.JPEG", "n01514668/1.JPEG")
    labels = [sample.annotations[0].label for sample in found]
    assert labels == ["n01514668", "n01440764", "n01514668"]
    assert [len(sample.annotations[0].boxes) for sample in found] == [0, 0, 1]


def test_imagenet_order_of_classes_without_a_list(tmp_path):
    """The usual thousand in order, with two that everyone knows."""
    (tmp_path / "n01514668").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "n01514668/a.JPEG")
    classes = load_dataset(f"imagenet:{tmp_path}").classes
    assert len(classes) == 1000
    assert list(classes) == sorted(classes)
    assert (classes["n01440764"], classes["n01514668"]) == ((0,), (7,))  # tench, cock


def test_folder_of_photos_with_labels_and_masks(tmp_path):
    photo = Image.new("RGB", (30, 20))
    solid = np.zeros((20, 30), np.uint8)
    solid[5:10, 8:20] = 255
    (tmp_path / "images/cat").mkdir(parents=True)
    (tmp_path / "masks/cat").mkdir(parents=True)
    photo.save(tmp_path / "images/plain.jpg")
    photo.save(tmp_path / "images/cat/tom.jpg")
    Image.fromarray(solid).save(tmp_path / "masks/cat/tom.png")
    named, plain = load_dataset(f"folder:{tmp_path}")
    assert (named.key, plain.key) == ("cat/tom.jpg", "plain.jpg")
    (cat,) = named.annotations
    assert cat.label == "cat"
    assert torch.equal(cat.mask, torch.from_numpy(solid > 0))
    assert cat.boxes.tolist() == [[8, 5, 20, 10]]
    assert plain.annotations[0].label is None
    assert plain.annotations[0].mask is None

    (tmp_path / "labels.csv").write_text("file,cat,dog\ncat/tom.jpg,1,1\nplain.jpg,0,0\n")
    both, none = load_dataset(f"folder:{tmp_path}")
    assert [one.label for one in both.annotations] == ["cat", "dog"]
    assert both.annotations[1].mask is None
    assert none.annotations == ()
    (tmp_path / "labels.csv").write_text("file,label\ncat/tom.jpg,dog\nplain.jpg,7\n")
    assert [one.annotations[0].label for one in load_dataset(f"folder:{tmp_path}")] == ["dog", "7"]
    (tmp_path / "labels.csv").write_text(
        "file,label\ncat/tom.jpg,dog\nplain.jpg,7\ncat/tom.jpg,cat\ncat/tom.jpg,dog\n"
    )
    both, _ = load_dataset(f"folder:{tmp_path}")
    assert [one.label for one in both.annotations] == ["dog", "cat"]
    for text, message in (
        ("file,label\nplain.jpg,7\n", "has no line for cat/tom.jpg"),
        ("file,label\nplain.jpg\n", "line 2: give a file and its label"),
        ("label,file\n7\n", "line 2: give a file and its label"),
        ("name,label\n", "has the columns"),
        ("file,cat\nplain.jpg,yes\n", "line 2: give 0 or 1"),
    ):
        (tmp_path / "labels.csv").write_text(text)
        with pytest.raises(DatasetError, match=message):
            load_dataset(f"folder:{tmp_path}")
    os.truncate(tmp_path / "labels.csv", 20_000_000_000)  # next to none of it on the disk
    with pytest.raises(DatasetError, match=r"labels\.csv: longer than"):
        load_dataset(f"folder:{tmp_path}")


@pytest.mark.parametrize("around", ["L", "RGB", "LA", "RGBA", "clear LA", "clear RGBA"])
def test_opacity_is_no_colour_of_a_mask(tmp_path, around):
    """Each pixel of a mask that was saved with opacity was of the object."""
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    Image.new("RGB", (30, 20)).save(tmp_path / "images/a.png")
    mode = around.removeprefix("clear ")
    solid = Image.new("L", (30, 20))
    solid.paste(255, (8, 5, 20, 10))
    drawn = solid.convert(mode)
    if mode != around:  # white, whose colours are there where it is transparent, too
        drawn.paste("white", (0, 0, 30, 20))
        drawn.putalpha(solid)
    drawn.save(tmp_path / "masks/a.png")
    ((annotation,),) = (one.annotations for one in load_dataset(f"folder:{tmp_path}"))
    assert annotation.boxes.tolist() == [[8, 5, 20, 10]]
    assert int(annotation.mask.sum()) == 60


@pytest.mark.parametrize("label", ["../images", "x/../../images", "ROOT/images", "long " * 80])
def test_a_label_is_any_text(tmp_path, label):
    """Also one that leads to a photo, which was taken for its own mask, or is too long a name."""
    (tmp_path / "images").mkdir()
    (tmp_path / "masks" / "x").mkdir(parents=True)
    Image.new("L", (8, 8), 1).save(tmp_path / "images" / "1.png")
    label = label.replace("ROOT", str(tmp_path)).strip()
    (tmp_path / "labels.csv").write_text(f"file,label\n1.png,{label}\n1.png,other\n")
    (sample,) = load_dataset(f"folder:{tmp_path}")
    assert [(one.label, one.mask) for one in sample.annotations] == [(label, None), ("other", None)]


def test_a_mask_that_photos_in_two_folders_would_have_is_refused(tmp_path):
    """It was taken for that of both."""
    for name in ("images/a", "images/b", "masks/cat", "masks/dog"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("images/a/1.png", "images/b/1.png", "images/a/2.png", "masks/cat/1.png"):
        Image.new("1", (8, 8), 1).save(tmp_path / name)
    (tmp_path / "labels.csv").write_text("file,label\na/1.png,cat\nb/1.png,cat\na/2.png,cat\n")
    one, two, other = (load_dataset(f"folder:{tmp_path}")[place : place + 1] for place in range(3))
    assert len(two[0].annotations) == 1
    for which, dataset in ((r"a/1\.png or of b/1", one), (r"b/1\.png or of a/1", other)):
        with pytest.raises(DatasetError, match=rf"masks/cat/1\.png: may be of {which}\.png"):
            dataset[0]
    (tmp_path / "labels.csv").write_text("file,label\na/1.png,cat\nb/1.png,dog\na/2.png,cat\n")
    cat, _, dog = load_dataset(f"folder:{tmp_path}")
    assert cat.annotations[0].mask.all()
    assert dog.annotations[0].mask is None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("voc", "KIND:FOLDER with one of voc, coco"),
        ("kitti:x", "KIND:FOLDER"),
        ("voc:/nowhere/at/all", "/nowhere/at/all: no such folder"),
        ("scenes:many", "says not how many"),
        ("scenes:99999999999", "are too many; 1,000,000 at most"),
    ],
)
def test_a_wrong_specification_says_what_would_be_right(spec, message):
    with pytest.raises(ValueError, match=message):
        load_dataset(spec)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda count: None, "made:3: its reader returned a NoneType"),
        (lambda count: Dataset("made:3", ("a", "b", "a"), str), "key 'a' is there 2 times"),
        (lambda count: Dataset("made:3", (0, 1, 2), str), "key 0 is no text"),
    ],
)
def test_a_reader_of_ones_own_that_makes_no_dataset(monkeypatch, made, message):
    monkeypatch.setitem(READERS, "made", Reader(made))
    with pytest.raises(DatasetError, match=message):
        load_dataset("made:3")


def test_an_option_that_a_kind_does_not_have():
    with pytest.raises(DatasetError, match="split"):
        load_dataset("scenes:3", split="val")


def test_class_maps(tmp_path, shared):
    real = read_class_map(shared / "real/coco/coco_to_imagenet.json")
    assert real["zebra"] == (340,)
    names = json.loads((shared / "real/imagenet/classes.json").read_text())
    by_name = classes_by_name(names)
    assert by_name["zebra"] == real["zebra"]
    assert by_name["340"] == real["zebra"]
    for wrong, message in (
        ('["bus"]', "give an object"),
        ("{}", "names no category; leave it out"),
        ('{"bus": 654}', "'bus' has 654"),
        ('{"bus": []}', "'bus' has"),
        ("{", "not JSON"),
    ):
        (tmp_path / "map.json").write_text(wrong)
        with pytest.raises(ValueError, match=message):
            read_class_map(tmp_path / "map.json")


def test_synonyms_and_shared_names():
    by_name = classes_by_name(["tabby, tabby cat", "crane", "Crane", "sports_car"])
    assert by_name["tabby cat"] == (0,)
    assert by_name["crane"] == (1, 2)
    assert by_name["sports car"] == (3,)


def test_real_pairs(shared):
    """The photos' own list of pairs, made by other code: boxes cover what it says they cover."""
    pytest.importorskip("pycocotools")
    dataset = load_dataset(f"coco:{shared / 'real/coco'}")
    pairs = json.loads((shared / "real/coco/pairs.json").read_text())
    # An area of 0 was not recorded; of the smallest objects the counts are too coarse.
    for pair in [pair for pair in pairs if pair["area_frac"] > 0.01][::12]:
        sample = dataset.read(pair["file_name"])
        (one,) = (a for a in sample.annotations if a.label == pair["category"])
        # Overlapping instances count twice in the list, and the polygons' areas are exact.
        assert float(one.mask.float().mean()) == pytest.approx(pair["area_frac"], rel=0.15)
