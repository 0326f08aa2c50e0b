"""The report: numbers against NumPy's, pictures against the methods', and a real browser."""

from __future__ import annotations

import base64
import os
import re
import shutil
import sys
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

pytest.importorskip("pydantic", reason="the benchmark's extra, seewhy[bench], is not installed")
pytest.importorskip("pyarrow", reason="the benchmark's extra, seewhy[bench], is not installed")

from report_setup import Tables, answers, draw, make_run, row

import seewhy
from registries import forgotten
from seewhy.bench.fingerprints import of_weights
from seewhy.bench.report import write_comparison, write_report
from seewhy.bench.report.cell import Cell
from seewhy.bench.report.pictures import choose
from seewhy.bench.report.words import MEANINGS, findings, meaning
from seewhy.bench.store import Run
from seewhy.cli import app
from seewhy.draw.charts import HEIGHT, LEFT, PLOT, TOP
from seewhy.evaluation.evaluation import Evaluation
from seewhy.evaluation.rows import Omission, Row
from seewhy.evaluation.statistics import mean_curves
from seewhy.evaluation.values import Values
from seewhy.metrics import list_metrics, register_metric
from seewhy.metrics import metric as metric_of
from seewhy.notes import Note

IMAGES = 40
SHIFTS = {"good": 0.3, "also good": 0.3, "bad": 0.0}
METHODS = list(SHIFTS)
METRICS = ["gini", "deletion"]


def handmade() -> tuple[list[Row], np.ndarray]:
    """Rows of known values, (method, metric, image): two methods alike and a worse one.

    By gini higher is better, by deletion lower, of which the third is better.
    """
    draw = np.random.default_rng(0)
    level = draw.uniform(0.2, 0.5, (1, 2, IMAGES))
    values = level + 0.02 * draw.normal(size=(3, 2, IMAGES))
    values += np.array(list(SHIFTS.values()))[:, None, None]
    rows = [
        row(
            f"image {place:02}",
            method,
            float(values[m, k, place]),
            metric,
            ("cat", "dog")[place % 2],
            curve=(1.0, float(values[m, k, place]), 0.0) if metric == "deletion" else (),
        )
        for place in range(IMAGES)
        for m, method in enumerate(METHODS)
        for k, metric in enumerate(METRICS)
    ]
    return rows, values


def cell_of(rows: list[Row], omissions: tuple[Omission, ...] = ()) -> Cell:
    images = {one.image for one in rows}
    return Cell("net", "data", Evaluation(len(images), Values.of(rows), omissions))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of handmade rows, its page read, the page's text, and the values."""
    folder = tmp_path_factory.mktemp("made")
    rows, values = handmade()
    broken = Omission("broken.jpg", "", "", "broken.jpg: cut short", True)
    left = Omission("image 00", "bird", "", "the network has no class for this category", False)
    calibration = {"net": {"forward": 0.5, "methods": {"good": 1.0, "also good": 5.0, "bad": None}}}
    run = make_run(
        folder, {("net", "voc:gone"): answers(rows, [broken, left])}, calibration=calibration
    )
    draw(run)
    write_report(run, folder / "report.html")
    text = (folder / "report.html").read_text()
    return run, Tables(text), text, values


def test_leader_board(made):
    _, page, _, values = made
    (board,) = page.headed("method")
    ranks = []
    for k, sign in enumerate((1, -1)):
        order = (-sign * values[:, k]).argsort(0).argsort(0) + 1  # no two values are equal
        ranks.append(order.mean(1))
    expected = dict(zip(METHODS, np.mean(ranks, 0), strict=True))
    assert [cells[0].text for cells in board] == sorted(METHODS, key=lambda m: expected[m])
    for cells in board:
        m = METHODS.index(cells[0].text)
        assert cells[1].value == pytest.approx(expected[cells[0].text])
        for k in range(2):
            found = cells[2 + k]
            own = values[m, k]
            assert found.value == pytest.approx(own.mean())
            assert found.text.startswith(f"{own.mean():.3f}")
            low, high = map(float, re.findall(r"(\d\.\d+) – (\d\.\d+)", found.text)[0])
            half = 1.96 * own.std() / np.sqrt(IMAGES)
            assert (low, high) == pytest.approx((own.mean() - half, own.mean() + half), abs=0.006)


def test_without_its_packages_the_report_says_what_to_install(monkeypatch):
    monkeypatch.setattr("seewhy.bench.find_spec", lambda package: None)
    result = CliRunner().invoke(app, ["report", "nowhere"])
    assert result.exit_code == 2, result.exception
    assert "this needs the package pyarrow; install seewhy[bench]" in " ".join(
        result.output.split()
    )


def test_the_best_and_what_cannot_be_told_from_it_are_marked(made):
    _, page, _, values = made
    kinds = {cells[0].text: [cells[2].kind, cells[3].kind] for cells in page.headed("method")[0]}
    best = METHODS[int(values[:, 0].mean(1).argmax())]
    other = next(m for m in METHODS[:2] if m != best)
    assert kinds[best][0] == "best"
    assert kinds[other][0] == "tied"
    assert kinds["bad"] == ["", "best"]  # of deletion the lower is better
    assert (kinds["good"][1], kinds["also good"][1]) == ("", "")


def test_matrix_of_comparisons(made):
    _, page, _, values = made
    tables = [table for table in page.tables if table[0][0].text == "" and len(table[0]) == 4]
    assert len(tables) == 2
    for k, table in enumerate(tables):
        names = [cell.text for cell in table[0][1:]]
        means = [values[METHODS.index(name), k].mean() for name in names]
        assert all((a > b) == (k == 0) for a, b in pairwise(means))  # the best first
        for i, cells in enumerate(table[1:]):
            assert cells[0].text == names[i]
            for j, cell in enumerate(cells[1:]):
                if i == j:
                    assert (cell.text, cell.kind) == ("", "self")
                    continue
                assert cell.value == pytest.approx(means[i] - means[j])
                alike = "bad" not in (names[i], names[j])
                assert cell.kind[:-1] == ("" if alike else "better" if i < j else "worse")


def test_classes(made):
    _, page, _, values = made
    tables = page.headed("class")
    assert len(tables) == 2
    for k, table in enumerate(tables):
        heading = next(t for t in page.tables if t[1:] == table)[0]
        names = [cell.text for cell in heading[2:]]
        for cells in table:
            start = ("cat", "dog").index(cells[0].text)
            assert cells[1].value == IMAGES / 2
            for name, cell in zip(names, cells[2:], strict=True):
                own = values[METHODS.index(name), k, start::2]
                assert cell.value == pytest.approx(own.mean())


def test_curves_are_means_with_bands(made):
    _, _, text, values = made
    rows, _ = handmade()
    found, low, high = mean_curves(Values.of(rows))["deletion", "good"].tolist()
    mean = values[0, 1].mean()
    assert found == pytest.approx([1, mean, 0])
    half = 1.96 * values[0, 1].std() / np.sqrt(IMAGES)
    assert low == pytest.approx([1, mean - half, 0], abs=0.004)
    assert high == pytest.approx([1, mean + half, 0], abs=0.004)
    lines = re.findall(r'<polyline class="line" points="([^"]*)"', text)
    drawn = [[tuple(map(float, p.split(","))) for p in one.split()] for one in lines]
    at = [((x - LEFT) / PLOT, 1 - (y - TOP) / HEIGHT) for x, y in drawn[1]]  # the best is "bad"
    middles = sorted(values[:, 1].mean(1))
    assert at[1] == pytest.approx((0.5, middles[1]), abs=0.003)


def test_cost_in_forwards(made):
    _, _, text, _ = made
    assert re.search(r"<title>good: 0\.\d+ for 2\.00 forwards<", text)
    assert re.search(r"<title>also good: 0\.\d+ for 10\.00 forwards<", text)
    assert "Not measured: bad." in text


def test_what_failed_what_was_left_out_and_what_is_gone(made):
    _, page, _, _ = made
    assert ["broken.jpg", "all", "broken.jpg: cut short", "net on voc:gone"] in [
        [cell.text for cell in cells] for cells in page.headed("image")[0]
    ]
    (failed,) = [table for table in page.tables if table[0][0].text == "image"]
    assert [cell.kind for cell in failed[0]] == [cell.kind for cell in failed[1]]  # one alignment
    assert "1 failure" in page.text
    assert [[c.text for c in cells] for cells in page.headed("where")[0]] == [
        ["net on voc:gone", "the network has no class for this category", "1"]
    ]
    assert "3 methods, measured by 2 metrics on 40 of 41 images of voc:gone, with net." in page.text
    assert "No pictures: model 'net'" in page.text  # there is no such network, nor such data
    assert "0123456789abcdef" in page.text


def test_findings_say_no_more_than_the_tests():
    rows, _ = handmade()
    (metric, one), (_, two) = findings([cell_of(rows)]).items()
    assert (metric, meaning(metric)[-1]) == ("gini", ".")
    assert "good has the best mean. No significant difference from " in one
    assert one.endswith("good (40 images); significantly better than the other one.")
    assert two == "bad is significantly better than each of the 2 other methods (40 images)."
    pair = [one for one in rows if one.method != "bad"]
    for verdict in findings([cell_of(pair)]).values():
        assert verdict.startswith("No significant difference between ")
        assert verdict.endswith(" (40 images).")
    few = [one for one in pair if one.image < "image 03"]
    assert "p is 0.250 or more" in findings([cell_of(few)])[metric]
    alone = [one for one in rows if one.method == "bad"]
    for verdict in findings([cell_of(alone)]).values():
        assert verdict == "bad is the only method with values (40 images)."
    _, both = findings([cell_of(rows), cell_of(rows)]).values()
    assert both == (
        "Best mean: bad in 2 of 2 (each time significantly better than every other method); "
        "40 images or more each."
    )


def test_every_metric_is_explained_in_a_sentence():
    assert set(MEANINGS) == {metric_of(name).function for name in list_metrics()}
    for sentence in MEANINGS.values():
        assert sentence[0].isupper()
        assert sentence.endswith(".")

    def gini(saliency):
        """Something else, (B,), in [0, 1]."""

    with forgotten():
        with pytest.warns(Note, match="'gini'"):
            register_metric("a test", higher_is_better=True)(gini)
        assert meaning("gini") == "Something else."


def test_too_few_images_to_tell_anything_is_said(tmp_path):
    rows = [row(f"i{n}", m, n + s) for n in range(4) for m, s in SHIFTS.items()]
    assert cell_of(rows).attainable("gini") == pytest.approx(3 * 2 / 2**4)
    write_report(make_run(tmp_path, {("n", "d"): answers(rows)}), tmp_path / "r.html", images=0)
    said = "On so few images no difference can be significant: p is 0.375 or more."
    assert (tmp_path / "r.html").read_text().count(said) == 2  # in words, and by the comparisons


def test_too_many_methods_to_tell_anything_are_said_to_be_too_many():
    """However many images there are: a p of random flips is a share of 10,000 of them."""
    rows = [row(f"i{n}", f"m{m}", n + m) for n in range(15) for m in range(33)]
    said = findings([cell_of(rows)])["gini"]
    assert "Among so many methods no difference can be significant: p is 0.053 or more." in said


def test_the_best_mean_may_be_significantly_worse_over_images(tmp_path):
    """One image with many classes outweighs the others in the mean, but not in the paired test."""
    rows = [row(f"i{n}", "one", 0.5) for n in range(1, 30)]
    rows += [row(f"i{n}", "two", 0.6) for n in range(1, 30)]
    for n in range(40):
        rows += [row("i0", m, v, target=f"c{n}") for m, v in {"one": 0.9, "two": 0.4}.items()]
    cell = cell_of(rows)
    assert cell.ranked("gini") == ["one", "two"]
    assert (cell.beaten("gini"), cell.ahead("gini"), cell.undecided("gini")) == ([], ["two"], [])
    said = "two is significantly better in the paired test over images (30 images)"
    assert said in findings([cell])["gini"]
    whole = {("n", "d"): answers(rows), ("other", "d"): answers(rows)}
    write_report(make_run(tmp_path, whole), tmp_path / "r.html", images=0)
    page = Tables((tmp_path / "r.html").read_text())
    (best,), boards = page.headed("network and dataset"), page.headed("method")
    assert [line[1].kind for line in best] == ["", ""]  # not better than every other
    assert [[line[2].kind for line in board] for board in boards] == [["best", ""]] * 2  # no tie


def test_images_are_chosen_by_hand():
    values = {"one": [0.1, 0.9, 0.5, 0.4], "two": [0.1, 0.2, 0.5, 0.9]}
    rows = [row(f"i{n}", m, v) for m, own in values.items() for n, v in enumerate(own)]
    choice = choose(Values.of(rows).table("gini"), ["two", "one"], 1)
    assert choice.best == {"two": [3], "one": [1]}
    assert choice.worst == {"two": [0], "one": [0]}
    assert choice.disagreed == [1]  # 0.7 apart
    assert choice.wanted[1] == ["one", "two"]
    lower = [Row(**{**vars(r), "metric": "deletion"}) for r in rows]
    assert choose(Values.of(lower).table("deletion"), ["one"], 1).best["one"] == [0]
    # No image is the best and the worst, and equal values are no disagreement.
    equal = Values.of([row("i", "one", 1.0), row("i", "two", 1.0)])
    same = choose(equal.table("gini"), ["one", "two"], 3)
    assert (same.worst, same.disagreed) == ({"one": [], "two": []}, [])


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A real run on scenes and its page."""
    folder = tmp_path_factory.mktemp("graded")
    methods = ["grad_cam", "layer_cam", "center_gaussian"]
    model = seewhy.load_model("scenes:resnet")
    found = seewhy.evaluate(model, "scenes:6", methods, ["energy_pointing_game", "gini"])
    run = make_run(
        folder,
        {("scenes:resnet", "scenes:6"): answers(found.rows)},
        weights={"scenes:resnet": of_weights(model.module)},
    )
    draw(run, 2)
    write_report(run, folder / "report.html", images=2)
    return run, (folder / "report.html").read_text(), model


def test_pictures_are_the_methods_own(graded):
    run, text, model = graded
    pictures = re.findall(
        r'<img alt="([^"]*)" src="data:image/webp;base64,([^"]*)"', text.replace("\n", " ")
    )
    assert len(pictures) == 3 + 2 * (1 + 3) + 3 * 4  # keys; photo and methods; best and worst
    (evaluation,) = run.evaluations().values()
    values = {r.value: r for r in evaluation.rows if r.metric == "energy_pointing_game"}
    checked = 0
    for alt, data in pictures:
        asked = re.fullmatch(
            r"map of (\S+) for (\S+) on (scene-\S+), energy pointing game (\d\.\d+)", alt
        )
        if asked is None:
            continue
        fits = [r for v, r in values.items() if f"{v:.3f}" == asked[4] and r.image == asked[3]]
        (one,) = (r for r in fits if (r.method, r.target) == (asked[1], asked[2]))
        sample = seewhy.load_dataset("scenes:6").read(one.image)
        (answer,) = seewhy.explain_photos(model, [sample.image], [one.method], [one.class_index])
        expected = np.asarray(answer.explanations[0].overlay().convert("RGB"), dtype=float)
        shown = np.asarray(Image.open(BytesIO(base64.b64decode(data))).convert("RGB"), dtype=float)
        assert shown.shape == expected.shape
        assert np.abs(shown - expected).mean() < 8  # what compression changes
        checked += 1
    assert checked == 2 * 3 + 12


def test_other_weights_than_the_graded_ones_give_no_pictures(graded, tmp_path):
    run, _, _ = graded
    changed = Run(run.folder, {**run.manifest, "weights": {"scenes:resnet": "others"}})
    write_report(changed, tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert "scenes:resnet has other weights now than when it was graded" in text
    assert "<img" not in text
    assert "Leader board" in text


@pytest.mark.parametrize("drawn", [True, False])
def test_nothing_that_a_folder_names_is_opened_or_run(graded, tmp_path, monkeypatch, drawn):
    """Whatever the manifest says of networks, datasets and files."""
    run, _, _ = graded
    (tmp_path / "evil_nets.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    config = run.manifest["config"]
    network = {**config["networks"][0], "name": "scenes:resnet", "model": "evil_nets:build"}
    dataset = {**config["datasets"][0], "name": "scenes:6", "dataset": f"folder:{tmp_path}"}
    evil = {"networks": [network], "datasets": [dataset], "methods": ["evil_nets:build"]}
    manifest = {**run.manifest, "root": str(tmp_path), "config": {**config, **evil}}
    forged = Run.create(tmp_path / "forged", manifest)
    forged.put("rows/00000.parquet", (run.folder / "rows/00000.parquet").read_bytes())
    if drawn:
        forged.put("pictures.parquet", (run.folder / "pictures.parquet").read_bytes())
    opened = []
    monkeypatch.setattr("seewhy.bench.plan.load_model", lambda *a, **k: opened.append(a))
    monkeypatch.setattr("seewhy.bench.plan.load_dataset", lambda *a, **k: opened.append(a))
    assert invoke(forged.folder).exit_code == 0
    assert invoke(forged.folder, run.folder).exit_code == 0
    text = (forged.folder / "report.html").read_text()
    assert (text.count("<img") >= 20) == drawn
    assert ("a run draws them when all of it is done" in text) != drawn
    assert opened == []
    assert "evil_nets" not in sys.modules


def test_pictures_are_drawn_once_and_again_for_other_rows(tmp_path):
    found = seewhy.evaluate("scenes:resnet", "scenes:3", ["grad_cam"], ["gini", "entropy"])
    digest = of_weights(seewhy.load_model("scenes:resnet").module)
    cell = {("scenes:resnet", "scenes:3"): answers(found.rows)}
    run = draw(make_run(tmp_path, cell, weights={"scenes:resnet": digest}))
    before = (tmp_path / "pictures.parquet").stat().st_mtime_ns
    draw(run)
    assert (tmp_path / "pictures.parquet").stat().st_mtime_ns == before
    run.add(0, "scenes:resnet", "scenes:3", answers(found.rows[:-1]))
    draw(run)
    after = (tmp_path / "pictures.parquet").stat().st_mtime_ns
    assert after != before
    draw(run, 1)
    assert (tmp_path / "pictures.parquet").stat().st_mtime_ns != after


def test_the_gallery_can_go_by_any_metric_of_the_run(graded, tmp_path):
    run, _, _ = graded
    for metric in ("gini", "energy_pointing_game"):
        write_report(run, tmp_path / "r.html", metric=metric, images=1)
        text = (tmp_path / "r.html").read_text()
        plain = metric.replace("_", " ")
        assert f"The number is the map's {plain}; higher is better." in text
        assert f"The images were chosen by {plain};" in text
        assert text.count("<figure><img") == 1 * (1 + 3) + 3 * 2


def test_an_image_that_is_gone_costs_no_other_its_picture(graded, tmp_path):
    run, _, _ = graded
    (evaluation,) = run.evaluations().values()
    keys = list(dict.fromkeys(one.image for one in evaluation.rows))
    renamed = [
        Row(**{**vars(r), "image": r.image.replace(keys[0], "gone")}) for r in evaluation.rows
    ]
    other = make_run(
        tmp_path,
        {("scenes:resnet", "scenes:6"): answers(renamed)},
        weights=run.manifest["weights"],
    )
    draw(other, 6)
    write_report(other, tmp_path / "r.html", images=6)
    text = (tmp_path / "r.html").read_text()
    assert re.search(r"\d+ of the images: .*gone", text)
    assert text.count("<img") > 20


def test_names_are_text(tmp_path):
    evil = "<script>alert(1)</script>&\"'"
    rows = [row(f"{evil}{n}", m, n / 9, target=evil) for n in range(3) for m in ("a", "b" + evil)]
    omissions = [Omission(f"{evil}x", evil, evil, evil, failed) for failed in (True, False)]
    run = make_run(
        tmp_path, {(evil, evil): answers(rows, omissions)}, config_text=evil, device=evil,
        calibration={evil: {"forward": 1.0, "methods": {"a": 1.0, "b" + evil: 2.0}}},
    )  # fmt: skip
    write_report(run, tmp_path / "r.html")
    write_comparison(run, run, tmp_path / "c.html")
    for name in ("r.html", "c.html"):
        text = (tmp_path / name).read_text()
        assert "<script>alert" not in text
        assert text.count("<script>") == 1
        assert "&lt;script&gt;alert(1)" in text


def test_runs_that_are_the_same_are_identical(made, tmp_path):
    run, _, _, _ = made
    write_comparison(run, run, tmp_path / "c.html")
    page = Tables((tmp_path / "c.html").read_text())
    count = IMAGES * 3 * 2
    assert f"Identical in all {count} values" in page.text
    assert page.text.rstrip().count("None.") == 1  # of the settings that differ


def test_what_differs_between_runs(made, tmp_path):
    first, _, _, values = made
    rows, _ = handmade()
    draw = np.random.default_rng(1)
    noise = {image: draw.normal(0, 0.001) for image in dict.fromkeys(r.image for r in rows)}
    later = [
        Row(
            **{
                **vars(r),
                "value": r.value + 0.05 + noise[r.image] if r.method == "bad" else r.value,
            }
        )
        for r in rows
        if r.image != "image 00" and r.method != "also good"
    ]
    second = make_run(
        tmp_path, {("net", "voc:gone"): answers(later)}, seed=7,
        versions={"seewhy": "0.2.0", "torch": "2.0"},
    )  # fmt: skip
    write_comparison(first, second, tmp_path / "c.html")
    page = Tables((tmp_path / "c.html").read_text())
    kept = IMAGES - 1
    assert f"{kept * 2} of {kept * 4} values that both have differ" in page.text
    assert "B is significantly better than A: bad on gini." in page.text
    assert "B is significantly worse than A: bad on deletion." in page.text
    assert "Only A has on net on voc:gone the methods also good." in page.text
    (table,) = page.headed("metric")
    found = {(cells[0].text.split()[0], cells[1].text): cells for cells in table}
    assert len(found) == 4
    shift = 0.05 + np.mean([noise[f"image {n:02}"] for n in range(1, IMAGES)])
    for k, metric in enumerate(METRICS):
        cells = found[metric, "bad"]
        mean = values[2, k, 1:].mean()
        assert cells[2].value == pytest.approx(mean)
        assert cells[3].value == pytest.approx(mean + shift)
        assert cells[4].value == pytest.approx(shift)
        assert cells[4].kind == ("better2" if metric == "gini" else "worse2")
        assert cells[6].value == kept
        assert found[metric, "good"][4].value == 0
        assert found[metric, "good"][4].kind == ""
    (settings,) = [t for t in page.tables if [c.text for c in t[0]] == ["", "A", "B"]]
    said = {cells[0].text: [cells[1].text, cells[2].text] for cells in settings[1:]}
    assert said == {"seed": ["0", "7"], "versions.seewhy": ["0.1.0", "0.2.0"]}


def test_other_settings_are_named_beside_what_differs(tmp_path):
    """The same metric in other steps has other values of the same maps."""
    runs = [
        make_run(
            tmp_path / str(steps),
            {("n", "d"): answers([row(f"i{n}", "a", n / steps, "deletion") for n in range(9)])},
            config={"name": f"of {steps}", "methods": ["a"], "steps": steps},
        )
        for steps in (16, 8)
    ]
    write_comparison(*runs, tmp_path / "c.html")
    page = Tables((tmp_path / "c.html").read_text())
    assert "different settings, which may be the reason: config.steps." in page.text


def test_runs_without_anything_in_common(made, tmp_path):
    first, _, _, _ = made
    other = make_run(tmp_path, {("net", "else"): answers([row("i", "good", 1.0)])})
    with pytest.raises(ValueError, match="there is nothing to compare"):
        write_comparison(first, other, tmp_path / "c.html")


def invoke(*arguments: object):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def test_wrong_usage_is_one_line_and_exit_code_2(made, tmp_path):
    run, _, _, _ = made
    failed = Omission("i", "", "", "broken", True)
    empty = make_run(tmp_path / "empty", {("n", "d"): answers([], [failed])})
    (tmp_path / "bare").mkdir()
    cases = {
        (tmp_path / "nowhere",): "nowhere: holds no run",
        (tmp_path / "bare",): "bare: holds no run",
        (empty.folder,): "empty: holds no values: nothing could be explained and graded (broken)",
        (run.folder, tmp_path / "bare"): "bare: holds no run",
        (run.folder, "--metric", "iou"): "no values of 'iou'; it has gini, deletion",
        (run.folder, "--out", tmp_path / "no" / "r.html"): f"there is no folder {tmp_path / 'no'}",
        (run.folder, "--out", run.folder / "manifest.json"): "manifest.json is there already",
        (run.folder, run.folder, "--out", tmp_path / "bare"): "bare is there already",
    }
    for arguments, message in cases.items():
        found = invoke(*arguments)
        assert found.exit_code == 2, arguments
        assert found.stderr.startswith("error ")
        assert message in found.stderr
        assert len(found.stderr.splitlines()) == 1


def test_a_plugin_that_is_not_loaded_is_named(tmp_path):
    """Packages are installed, as none of them is a module for --plugin; nobody's metric is not."""
    cells = {("n", "d"): answers([row("i", "a", 1.0, "sharpness")])}
    versions = {"seewhy": "0.1.0", "python": "3.11", "others_maps": "2"}
    run = make_run(tmp_path / "a", cells, plugins={"mycam": "12"}, versions=versions)
    said = "the metric 'sharpness' is not loaded; it is of a plugin that the run had: "
    both = f"a: {said}give mycam with --plugin, or install others_maps$"
    with pytest.raises(ValueError, match=both):
        write_report(run, tmp_path / "r.html")
    installed = make_run(tmp_path / "c", cells, versions=versions)
    with pytest.raises(ValueError, match=f"{said}install others_maps$"):
        write_report(installed, tmp_path / "r.html")
    with pytest.raises(ValueError, match=said):
        write_comparison(run, run, tmp_path / "c.html")
    none = make_run(tmp_path / "b", cells)
    with pytest.raises(ValueError, match="there is no metric 'sharpness'"):
        write_report(none, tmp_path / "r.html")


def test_the_command_writes_where_it_says(made, tmp_path):
    run, _, _, _ = made
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    (folder / "report.html").unlink()
    assert invoke(folder, "--images", 0).exit_code == 0
    assert invoke(folder, "--images", 0).exit_code == 0, "its own page may be made anew"
    assert "Leader board" in (folder / "report.html").read_text()
    found = invoke(run.folder, folder)
    assert found.exit_code == 0
    assert "comparison.html" in found.stdout
    assert "Identical" in (folder / "comparison.html").read_text()


def test_an_unfinished_run_says_so(tmp_path):
    rows = [row(f"i{n}", m, n / 9) for n in range(9) for m in ("a", "b")]
    make_run(tmp_path, {("n", "d"): answers(rows)}, shards=3)
    found = invoke(tmp_path, "--images", 0)
    assert found.exit_code == 0
    assert "is incomplete" in found.stderr
    page = Tables((tmp_path / "report.html").read_text())
    assert "Incomplete: 1 of 3 parts are done" in page.text


def test_the_page_of_an_evaluation_shows_its_settings(tmp_path):
    """There is no config file to show, and none to run again."""
    rows = [row(f"i{n}", m, n / 9) for n in range(9) for m in ("a", "b")]
    config = {"name": "evaluation", "methods": ["a", "b"], "top": 5, "steps": 8}
    run = make_run(tmp_path, {("n", "d"): answers(rows)}, config_text="", config=config, shards=2)
    write_report(run, tmp_path / "r.html")
    page = Tables((tmp_path / "r.html").read_text())
    said = {line[0].text: line[1].text for line in page.tables[-1]}
    assert (said["config.methods"], said["config.top"], said["config.steps"]) == ("a, b", "5", "8")
    assert "config file" not in page.text
    assert "repeat the same call of `seewhy evaluate`" in page.text
    assert "No pictures: `seewhy evaluate` draws none" in page.text


def test_one_method_one_image_and_several_cells(tmp_path):
    """Nothing to compare, no interval, and metrics that only one of the cells has."""
    run = make_run(
        tmp_path,
        {
            ("n", "d"): answers([row("i", "a", 0.5)]),
            ("m", "d"): answers([row("i", "a", 0.5, "deletion"), row("j", "a", 0.25, "deletion")]),
            ("k", "d"): answers([], [Omission("i", "", "", "broken", True)]),
        },
    )
    two = make_run(tmp_path / "two", {("n", "d"): answers([row("i", m, 0.5) for m in "ab"])})
    write_report(two, tmp_path / "two.html", images=0)
    other = make_run(tmp_path / "other", {("n", "d"): answers([row("i", m, 0.75) for m in "ab"])})
    write_comparison(two, other, tmp_path / "c.html")
    for name in ("two", "c"):
        text = (tmp_path / f"{name}.html").read_text()
        assert "nan" not in text
        assert "one image" in text
    write_report(run, tmp_path / "r.html", images=0)
    page = Tables((tmp_path / "r.html").read_text())
    (overview,) = page.headed("network and dataset")
    assert [cell.text for cell in overview[0]] == ["n on d", "a0.500", "–"]
    assert "nan" not in (tmp_path / "r.html").read_text()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("there is no Chromium; name one in the environment variable CHROMIUM")
    # A root user's browser starts without its sandbox only, and calls home unless told not to.
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=path, args=flags)
        yield opened
        opened.close()


def opened(browser, path: Path, **options):
    """The page in the browser, with all that it asked for and complained of."""
    page = browser.new_page(**options)
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri())
    return page, [url for url in asked if not url.startswith("data:")], complaints


def test_in_a_browser_it_fetches_nothing_and_sorts(browser, graded):
    run, _, _ = graded
    path = run.folder / "report.html"
    page, asked, complaints = opened(browser, path)
    assert asked == [path.as_uri()]
    assert complaints == []
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")

    def column(place: int) -> list[str]:
        script = "(t, n) => [...t.tBodies[0].rows].map(r => r.cells[n].dataset.value)"
        return page.locator("table.sortable").first.evaluate(script, place)

    heading = page.locator("table.sortable").first.locator("th").nth(2)
    heading.click()
    values = [float(value) for value in column(2)]
    assert values == sorted(values, reverse=True)  # higher is better, and comes first
    assert heading.get_attribute("aria-sort") == "descending"
    heading.press("Enter")
    assert [float(value) for value in column(2)] == sorted(values)
    page.close()


def test_in_a_browser_nothing_is_cut_off(browser, graded, made, tmp_path):
    """At three widths down to a phone's, with many methods and metrics of long names.

    Nor is a short word of a first column broken, however long the names beside it.
    """
    names = ["vit_base_patch16_clip_224.openai_ft_in12k_in1k", "convnextv2_huge.fcmae_ft_in22k"]
    methods = [f"gig_cam(steps={n})+multiscale+gradual" for n in range(14)]
    metrics = [name for name in list_metrics() if name not in ("insertion", "deletion")][:9]
    rows = [
        row(f"image-{n}.jpg", m, (n + k) / 20, metric)
        for n in range(3)
        for k, m in enumerate(methods)
        for metric in metrics
    ]
    costs = {"forward": 1.0, "methods": {m: 1.0 + k for k, m in enumerate(methods)}}
    cells = {(name, "validation-photos-of-2012"): answers(rows) for name in names}
    wide = make_run(tmp_path, cells, calibration=dict.fromkeys(names, costs))
    write_report(wide, tmp_path / "report.html", images=0)
    write_comparison(made[0], made[0], tmp_path / "comparison.html")
    paths = [graded[0].folder / "report.html", made[0].folder / "report.html"]
    for path in [*paths, tmp_path / "report.html", tmp_path / "comparison.html"]:
        for width in (1280, 900, 390):
            page, _, _ = opened(browser, path, viewport={"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            cut = """[...document.querySelectorAll("body *")].filter(
                (e) => e.scrollWidth > e.clientWidth + 1 && e.clientWidth
                    && ["auto", "scroll", "hidden", "clip"].includes(getComputedStyle(e).overflowX)
            ).map((e) => e.outerHTML.slice(0, 80))"""
            assert page.evaluate(cut) == [], (path, width)
            first = "tr > :first-child, .names th"
            broken = """(first) => [...document.querySelectorAll(first)].flatMap((cell) => {
                const walk = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT), found = [];
                while (walk.nextNode())
                    for (const word of walk.currentNode.data.matchAll(
                        /(?<![a-z0-9])[a-z]+(?![a-z0-9])/gi
                    )) {
                        const range = document.createRange();
                        range.setStart(walk.currentNode, word.index);
                        range.setEnd(walk.currentNode, word.index + word[0].length);
                        if (word[0].length < 8 && range.getClientRects().length > 1)
                            found.push(cell.innerText);
                    }
                return found;
            })"""
            assert page.evaluate(broken, first) == [], (path, width)
            page.close()


def test_in_a_browser_choosers_work_and_a_phone_can_show_it(browser, graded):
    run, _, _ = graded
    page, _, _ = opened(browser, run.folder / "report.html", viewport={"width": 380, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    tables = page.locator("table.matrix")
    assert [tables.nth(place).is_visible() for place in range(2)] == [True, False]
    page.locator("label", has_text=re.compile("^gini$")).first.click()
    assert [tables.nth(place).is_visible() for place in range(2)] == [False, True]
    page.emulate_media(media="print")
    assert [tables.nth(place).is_visible() for place in range(2)] == [True, True]
    page.close()
