"""Each recipe runs as it is, but for a small network and tiny exports in its datasets' layouts."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree as xml

import pytest
import yaml
from bench_setup import bench

from seewhy.bench.config import read_config
from seewhy.bench.store import Run
from seewhy.data.class_map import read_class_map
from seewhy.data.scenes import CATEGORIES, export
from seewhy.evaluation.protocols import PROTOCOLS
from seewhy.naming import parse

RECIPES = Path(__file__).parents[2] / "benchmarks" / "recipes"
PAPERS = ("gig-cam", "global-guidance", "tsgb", "gradual")
VOC = [
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
]


def export_imagenet(root: Path) -> None:
    """Scenes in the layout of the localisation challenge: one class a photo, WordNet's numbers."""
    year = export(root / "voc", 2, "voc") / "VOCdevkit" / "VOC2012"
    numbers = {name: f"n{place:08d}" for place, name in enumerate(CATEGORIES)}
    lines = (f"{number} {name}\n" for name, number in numbers.items())
    (root / "LOC_synset_mapping.txt").write_text("".join(lines))
    photos, notes = (root / part / "CLS-LOC" / "val" for part in ("Data", "Annotations"))
    photos.mkdir(parents=True)
    notes.mkdir(parents=True)
    for note in sorted((year / "Annotations").glob("*.xml")):
        tree = xml.parse(note)
        for name in tree.iterfind("object/name"):
            name.text = numbers[name.text]
        tree.write(notes / note.name)
        shutil.copy(year / "JPEGImages" / f"{note.stem}.jpg", photos / f"{note.stem}.JPEG")
    shutil.rmtree(root / "voc")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Tiny datasets where the recipes look for the real ones, seen from a folder of recipes."""
    root = tmp_path_factory.mktemp("recipes")
    export(root / "data" / "VOC2012", 2, "voc")
    export(root / "data" / "COCO2014", 2, "coco")
    export_imagenet(root / "data" / "ILSVRC2012")
    (root / "benchmarks" / "recipes").mkdir(parents=True)
    return root / "benchmarks" / "recipes"


@pytest.mark.parametrize("name", PAPERS)
def test_a_papers_recipe_runs(data, name):
    if name in ("tsgb", "gradual"):
        pytest.importorskip("pycocotools")
    content = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    titles = [one["name"] for one in content["datasets"]]
    assert [one["name"] for one in content["networks"]] == ["ResNet-50", "VGG-16"]
    content["networks"] = [{"model": "scenes:resnet", "size": 32}]
    methods = [  # a step or two of those that take hours
        method.replace("gig_cam", "gig_cam(steps=1)").replace("ratio')", "ratio',scales=(1,1.5))")
        for method in PROTOCOLS[name].methods
    ]
    content["methods"] = methods
    for one in content["datasets"]:  # the scenes' network has another map and two images
        one.pop("class_map", None)
        one["top"] = 18
    config = data / f"{name}.yaml"
    config.write_text(yaml.safe_dump(content))
    bench(config, "--out", str(data / name))
    run = Run.open(data / name)
    assert run.complete
    assert not run.failures()
    found = run.evaluations()
    assert [dataset for _, dataset in found] == titles
    paper = PROTOCOLS[name]
    for (_, dataset), evaluation in found.items():
        assert evaluation.images == 2
        assert {row.method for row in evaluation.rows} == {str(parse(name)) for name in methods}
        # ImageNet knows one category a photo and no outlines.
        unknown = {"target_selectivity", "iou"} if dataset == "ILSVRC 2012" else set()
        assert {row.metric for row in evaluation.rows} == set(paper.metrics) - unknown


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_recipe_is_sound_as_it_is_written(path):
    config = read_config(path).config
    assert config.name == path.stem
    for source in config.datasets:
        if source.class_map:
            read_class_map(path.parent / source.class_map)
    if not find_spec("torchvision"):
        pytest.skip("needs torchvision")
    from seewhy.models import list_models

    assert {network.model for network in config.networks} <= set(list_models())


@pytest.mark.parametrize("name", ["voc", "coco"])
def test_a_class_of_imagenet_stands_for_one_category(name, shared):
    known = set(VOC)
    if name == "coco":
        instances = json.loads((shared / "real/coco/instances.json").read_text())
        known = {category["name"] for category in instances["categories"]}
    classes = read_class_map(RECIPES / f"{name}_to_imagenet.json")
    assert set(classes) <= known
    flat = [index for own in classes.values() for index in own]
    assert len(flat) == len(set(flat))
    assert max(flat) < 1000


def test_what_names_agree_on_is_in_the_maps():
    """A class that is called as a category belongs to it."""
    if not find_spec("torchvision"):
        pytest.skip("needs torchvision")
    from seewhy.data.class_map import classes_by_name
    from seewhy.models.packages import import_torchvision

    weights = import_torchvision().models.get_model_weights("resnet50").DEFAULT
    by_name = classes_by_name(weights.meta["categories"])
    classes = read_class_map(RECIPES / "coco_to_imagenet.json")
    alike = {name: by_name[name] for name in classes if name in by_name}
    assert len(alike) > 10
    for category, indices in alike.items():
        assert set(indices) <= set(classes[category]), category
