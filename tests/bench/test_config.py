"""Mistakes in a config are reported with their line, before anything is computed."""

from __future__ import annotations

import hashlib
import os
import sys
from importlib.util import find_spec

import pytest
from bench_setup import bench, write_bench

from seewhy.bench.config import ConfigError, read_config
from seewhy.bench.plan import cells_in, make_plan
from seewhy.data.load import load_dataset
from seewhy.evaluation.protocols import protocol
from seewhy.models import load_model

GOOD = """\
name: good
networks:
  - model: scenes:resnet
    size: [64, 96]
    mean: 0.5
datasets:
  - dataset: scenes:5
    top: 3
methods: [tsgb, "grad_cam+gradual"]
metrics:
  - gini
  - insertion
"""


def read(tmp_path, text):
    path = tmp_path / "bench.yaml"
    path.write_text(text)
    return read_config(path)


@pytest.mark.parametrize(
    ("before", "after", "line", "message"),
    [
        ("methods:", "metods:", 9, "unknown key 'metods'; did you mean 'methods'?"),
        ("    top: 3", "    topp: 3", 8, "unknown key 'topp'; did you mean 'top'?"),
        ("    mean: 0.5", "    men: 0.5", 5, "unknown key 'men'; did you mean 'mean'?"),
        ("tsgb", "tsbg", 9, "unknown method 'tsbg'; did you mean 'tsgb'?"),
        ("+gradual", "+gradul", 9, "unknown refinement 'gradul'; did you mean 'gradual'?"),
        ("- gini", "- gnii", 11, "there is no metric 'gnii'; did you mean 'gini'?"),
        ("name: good", "name: good\nprotocol: gigcam", 2, "did you mean 'gig-cam'?"),
        ("[64, 96]", "[64, 96, 1]", 4, "networks.0.size is [64, 96, 1]: List should have at most"),
        ("top: 3", "top: many", 8, "datasets.0.top is 'many': Input should be a valid integer"),
        ("top: 3", "seed: -1", 8, "seed=-1; it should be a whole number, at least 0 and at most"),
        (
            "top: 3",
            "split: val",
            8,
            "unknown key 'split'; did you mean 'limit'?",
        ),
        ("scenes:5", "scene:5", 7, "dataset 'scene:5' is of no known kind; did you mean 'scenes'?"),
        ("name: good", "name: good\nplugins: [nowhere_plugin]", 2, "no such module, neither on"),
        ("scenes:resnet\n", "scenes:resnet\n    activation: relu\n", 4, "activation is 'relu'"),
        ("dataset: scenes:5", "datset: scenes:5", 7, "'datset'; did you mean 'dataset'?"),
        ("dataset: scenes:5", "scenes: 5", 7, "if scenes:5 is meant, write it without the space"),
        (
            "- gini",
            '- "iou(treshold=1)"',
            11,
            "has no option 'treshold'; did you mean 'threshold'?",
        ),
        ("top: 3", "top: 0", 8, "datasets.0.top is 0: Input should be greater than or equal to 1"),
        ("  - insertion", "  - insertion\nname: twice", 13, "'name' is there already, on line 1"),
        ("name: good", "name: ../up", 1, "name is '../up': String should match"),
        ("name: good", "name: good\nsteps: 200000", 2, "steps is 200000: Input should be less"),
        ("name: good", "name: good\ntolerance: 1.0e+7", 2, "tolerance is 10000000.0: Input should"),
        ("  - model: scenes:resnet\n", "  - weights: x\n", 3, "model is missing"),
        (
            "datasets:",
            "  - model: scenes:resnet\ndatasets:",
            6,
            "two networks are called 'scenes:resnet'; give one a name of its own",
        ),
    ],
)
def test_errors_have_a_line_and_a_suggestion(tmp_path, before, after, line, message):
    assert before in GOOD
    with pytest.raises(ConfigError) as error:
        read(tmp_path, GOOD.replace(before, after))
    assert f"bench.yaml, line {line}: " in str(error.value)
    assert message in str(error.value)


def test_all_errors_come_together(tmp_path):
    text = GOOD.replace("tsgb", "tsbg").replace("- insertion", "- insert")
    with pytest.raises(ConfigError) as error:
        read(tmp_path, text)
    assert [line.split(": ")[0][-7:] for line in str(error.value).splitlines()] == [
        " line 9",
        "line 12",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "give keys with values"),
        ("- a\n- b\n", "give keys with values"),
        ("name: [", "no YAML"),
        ("name: x", "networks is missing"),
    ],
)
def test_files_that_are_no_config(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, text)


LAUGHS = "a0: &a0 [x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS + GOOD, "has more than 50,000 parts, aliases written out"),
        (LAUGHS.replace("[", "{<<: [").replace("]", "]}").replace("x", "{}"), "50,000 parts"),
        ("methods: &m [*m]", "is nested too deeply, or holds itself by an alias"),
        ("a: &a {b: *a}", "is nested too deeply, or holds itself by an alias"),
        ("[" * 100_000, "is nested too deeply"),
        ("- " * 100_000, "is nested too deeply"),
        (GOOD + "seed: 2024-13-45", "no YAML"),
        (GOOD + "seed: !!timestamp x", "no YAML"),
        (GOOD + "seed: " + "1" * 10_000, "no YAML"),
        (GOOD + "tolerance: .nan", "tolerance is nan"),
        (GOOD + "seed: !!python/object/apply:os.getcwd []", "no YAML"),
        (GOOD + "#" * 1_000_000, "cannot be read (longer than 1,000,000 bytes)"),
        (GOOD + "".join(f"k{n}: 1\n" for n in range(100)), "80 more are wrong"),
        (GOOD + f"protocol: [{'x, ' * 1000}]", "x', 'x', …: Input should be"),
    ],
)
def test_bombs_and_values_that_are_none(tmp_path, text, message):
    with pytest.raises(ConfigError) as error:
        read(tmp_path, text)
    assert message.removesuffix(": Input should be").rstrip("…") in str(error.value)
    assert len(str(error.value).replace(str(tmp_path), "")) < 5000


def test_aliases_of_the_usual_kind_are_taken(tmp_path):
    text = GOOD.replace(
        "datasets:\n  - dataset: scenes:5", "datasets:\n  - &d\n    dataset: scenes:5"
    )
    config = read(
        tmp_path, text.replace("    top: 3", "    top: 3\n  - {<<: *d, name: again}")
    ).config
    assert [one.title for one in config.datasets] == ["scenes:5", "again"]
    assert [one.top for one in config.datasets] == [3, 3]


def test_files_that_would_be_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (tmp_path / "pipe.yaml", "/dev/zero"):
        with pytest.raises(ConfigError, match=r"cannot be read \(not a regular file\)"):
            read_config(path)


def test_a_zoo_is_not_a_file_beside_the_config(tmp_path):
    """A module of one's own is looked for there, and only where the config names it."""
    for name in ("scenes", "torchvision", "timm"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')")
    make_plan(read(tmp_path, GOOD))
    assert str(tmp_path) not in sys.path


def test_a_missing_file(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        read_config(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("before", "after", "line", "message"),
    [
        ("scenes:resnet", "scene:resnet", 3, "did you mean 'scenes'"),
        ("scenes:resnet", "scenes:resnt", 3, "there are scenes:resnet, scenes:vgg, scenes:vit"),
        ("scenes:resnet", "torchvision:resnet51", 3, "did you mean 'resnet"),
        ("scenes:5", "scene:5", 7, "did you mean 'scenes'?"),
        ("scenes:5", "voc:nowhere", 7, "nowhere: no such folder"),
        ("    mean: 0.5", "    layer: layer9", 5, "layer9"),
        ("    top: 3", "    class_map: no.json", 8, "no.json: no such file"),
        ('[tsgb, "grad_cam+gradual"]', "[tsgb]\nprotocol: global-guidance", 11, "compares methods"),
    ],
)
def test_what_cannot_be_opened_has_a_line_too(tmp_path, before, after, line, message):
    assert before in GOOD
    if "torchvision" in after and not find_spec("torchvision"):
        pytest.skip("needs torchvision")
    with pytest.raises(ConfigError) as error:
        make_plan(read(tmp_path, GOOD.replace(before, after)))
    assert f"bench.yaml, line {line}: " in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "body",
    ["raise AssertionError", "raise SystemExit(0)", "1 +", "def build(): return {}['network']"],
)
def test_a_network_of_ones_own_that_raises_anything(tmp_path, body):
    name = f"own_{hashlib.sha256(body.encode()).hexdigest()[:8]}"
    (tmp_path / f"{name}.py").write_text(f"{body}\n")
    with pytest.raises(ConfigError, match=rf"bench.yaml, line 3: .*{name}:build.*: \w+"):
        make_plan(read(tmp_path, GOOD.replace("scenes:resnet", f"{name}:build")))


def test_a_network_without_a_score_per_class_is_told_before_all(tmp_path):
    text = GOOD.replace("scenes:resnet", "networks:Segmenter")
    with pytest.raises(ConfigError, match=r"bench.yaml, line 3: .* needs one score per class"):
        make_plan(read(tmp_path, text))


def test_a_protocol_gives_metrics_and_where_none_are_named_methods(tmp_path):
    papers = protocol("gradual")
    alone = GOOD[: GOOD.index("methods:")] + "protocol: gradual\n"
    config = read(tmp_path, alone).config
    assert config.methods == [*papers.methods]
    assert config.metrics == [*papers.metrics]
    both = read(tmp_path, GOOD + "protocol: gradual\n").config
    assert both.methods == ["tsgb", "grad_cam+gradual"]
    assert both.metrics == [*papers.metrics, "insertion"]  # gini is the protocol's already


def test_plain_strings_mean_what_they_say(tmp_path):
    text = "name: a\nnetworks: [scenes:resnet]\ndatasets: [scenes:2]\n"
    text += "methods: [tsgb]\nmetrics: [gini]\n"
    file = read(tmp_path, text)
    spelled = text.replace("[scenes:resnet]", "[{model: scenes:resnet}]")
    assert (
        file.config == read(tmp_path, spelled.replace("[scenes:2]", "[{dataset: scenes:2}]")).config
    )
    plan = make_plan(file)
    assert [(one["network"], one["dataset"]) for one in cells_in(plan.shards)] == [
        ("scenes:resnet", "scenes:2")
    ]
    with pytest.raises(ConfigError, match=r"line 3: dataset 'scene:2' is of no known kind"):
        read(tmp_path, text.replace("scenes:2", "scene:2"))


def test_yaml_sets_what_python_can(tmp_path):
    """A dataset's options, and how a network is fed and read."""
    text = GOOD.replace("    top: 3", "    seed: 4\n    size: 48").replace(
        "    size: [64, 96]\n    mean: 0.5",
        "    preprocess: {resize: [40, 60], crop: 32, interpolation: nearest}\n"
        "    activation: softmax",
    )
    plan = make_plan(read(tmp_path, text))
    data = plan.data("scenes:5")
    expected = load_dataset("scenes:5", seed=4, size=48)
    assert data.keys == expected.keys
    assert data[1].image.size == (48, 48)
    assert data[1].image.tobytes() == expected[1].image.tobytes()
    model = plan.model("scenes:resnet")
    given = {"resize": [40, 60], "crop": 32, "interpolation": "nearest"}
    other = load_model("scenes:resnet", preprocess=given, activation="softmax")
    assert (model.preprocess, model.activation) == (other.preprocess, "softmax")


@pytest.mark.parametrize(
    ("more", "setting"), [("size: 9", "resize"), ("size: [9, 8]", "crop"), ("mean: 0.5", "mean")]
)
def test_a_setting_of_a_network_is_given_once(tmp_path, more, setting):
    """`size` won over what `preprocess` said, and `mean` likewise."""
    twice = f"    {more}\n    preprocess: {{{setting}: 1}}"
    text = GOOD.replace("    size: [64, 96]\n    mean: 0.5", twice)
    message = f"{more.partition(':')[0]} stands beside preprocess with {setting}"
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, text)


def test_spellings_of_one_metric_are_one(tmp_path):
    text = GOOD.replace("  - insertion", '  - insertion\n  - "insertion(steps=32)"\n  - gini')
    text += '  - "iou( threshold = .30 )"\n  - "insertion(steps=9)"\n'
    asked = read(tmp_path, text).config.metrics
    assert asked == ["gini", "insertion", "iou(threshold=0.3)", "insertion(steps=9)"]
    asked = read(tmp_path, text + "steps: 9\n").config.metrics
    assert asked == ["gini", "insertion", "insertion(steps=32)", "iou(threshold=0.3)"]


def test_the_plan_has_every_image_once_and_names_files_from_the_config(tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    config = write_bench(
        tmp_path,
        networks=[
            {"model": "bench_nets:small", "name": "one", "size": 16, "mean": [0.1, 0.2, 0.3]},
            {"model": "bench_nets:small", "name": "two", "size": [8, 16], "std": 2.0},
        ],
        datasets=[{"dataset": "folder:photos"}, {"dataset": "scenes:5"}],
        shard=4,
    )
    monkeypatch.chdir(elsewhere)
    plan = make_plan(read_config(config))
    cells = [
        (network, data) for network in ("one", "two") for data in ("folder:photos", "scenes:5")
    ]
    found = cells_in(plan.shards)
    assert [(cell["network"], cell["dataset"]) for cell in found] == cells
    assert [(cell["images"], cell["shards"]) for cell in found] == [(6, 2), (5, 2)] * 2
    assert [shard.number for shard in plan.shards] == list(range(8))
    for network, data in cells:
        own = [s for s in plan.shards if (s.network, s.dataset) == (network, data)]
        assert tuple(key for shard in own for key in shard.keys) == plan.data(data).keys
    one, two = plan.model("one").preprocess, plan.model("two").preprocess
    assert (one.resize, one.crop, one.mean) == (16, 16, (0.1, 0.2, 0.3))
    assert (two.resize, two.crop, two.std) == ((8, 16), None, (2.0, 2.0, 2.0))


def test_wrong_usage_is_exit_code_2(tmp_path):
    config = write_bench(tmp_path, metrics=["gnii"])
    assert "line 11: there is no metric 'gnii'; did you mean 'gini'?" in " ".join(
        bench(config, code=2).split()
    )
    assert not config.with_name("run").exists()
