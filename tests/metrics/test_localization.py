"""Localisation metrics against TorchRay's and Quantus' numbers, scipy and closed forms."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from seewhy.metrics import effect_correlation, localization

VOC = {7: "cat", 11: "dog", 14: "person"}  # of the twenty classes, those in the label


@pytest.fixture(scope="module")
def pointing(oracles):
    case = oracles["metrics/pointing_game"]
    return case["params"], oracles.tensors(case)


@pytest.mark.parametrize("tolerance", [5, 15])
def test_hits_equal_torchray(pointing, tolerance):
    _, numbers = pointing
    hit = localization.hits(numbers["points"], numbers["masks"].bool(), tolerance)
    assert torch.equal(hit > 0, numbers[f"hit_tol{tolerance}"] > 0)


def test_the_maps_maximum_is_the_point(pointing):
    _, numbers = pointing
    masks = numbers["masks"][10].bool().expand(6, -1, -1)
    hit = localization.pointing_game(numbers["maps"], masks)
    assert torch.equal(hit > 0, numbers["maps_hit"] > 0)
    by_point = localization.hits(numbers["maps_point"], masks)
    assert torch.equal(hit, by_point)


def test_class_means_equal_torchray(pointing):
    params, numbers = pointing
    hit = localization.hits(numbers["points"], numbers["masks"].bool())
    means = localization.class_means(hit, numbers["class_ids"], params["num_classes"])
    torch.testing.assert_close(means.nan_to_num(), numbers["class_accuracies"])
    torch.testing.assert_close(means.nan_to_num().mean(), numbers["accuracy"][0])
    seen = numbers["agg_hits"] + numbers["agg_misses"] > 0
    assert torch.equal(means.isnan(), ~seen)


def test_boxes_in_voc_coordinates_equal_torchray(pointing):
    """A class is asked about if one of its boxes is easy; its difficult boxes count then, too."""
    params, numbers = pointing
    annotation = params["voc_label"]["annotation"]
    size = int(annotation["size"]["height"]), int(annotation["size"]["width"])
    asked = 0
    for (label, x, y), expected in zip(
        numbers["voc.queries"].tolist(), numbers["voc.result"], strict=True
    ):
        objects = [o for o in annotation["object"] if o["name"] == VOC.get(label)]
        if all(o["difficult"] == "1" for o in objects):
            assert expected == 0
            continue
        corners = [{k: int(v) for k, v in o["bndbox"].items()} for o in objects]
        boxes = torch.tensor(
            [[c["xmin"] - 1, c["ymin"] - 1, c["xmax"], c["ymax"]] for c in corners]
        )
        hit = localization.hits(torch.tensor([[x, y]]), localization.box_masks([boxes], size))
        assert (hit > 0) == (expected > 0)
        asked += 1
    assert asked > 5


def test_pointing_game_without_tolerance_needs_the_pixel_itself():
    saliency = torch.zeros(2, 8, 8)
    saliency[:, 3, 4] = 1
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[0, 3, 4] = masks[1, 3, 5] = True
    assert localization.pointing_game(saliency, masks, tolerance=0).tolist() == [1, 0]
    assert localization.pointing_game(saliency, masks, tolerance=1).tolist() == [1, 0]
    assert localization.pointing_game(saliency, masks, tolerance=1.5).tolist() == [1, 1]


@pytest.mark.parametrize("name", ["x64_b3", "x65x57"])
def test_energy_mass_and_rank_equal_the_reference(oracles, name):
    numbers = oracles.tensors(oracles[f"metrics/map_statistics_{name}"])
    maps, masks = numbers["maps"], numbers["boxes"].bool()
    energy = localization.energy_pointing_game(maps, masks)
    torch.testing.assert_close(energy, numbers["energy_pointing"], rtol=1e-12, atol=0)
    mass = localization.mass_accuracy(maps, masks)
    torch.testing.assert_close(mass, numbers["quantus.mass_accuracy.maps"], rtol=1e-9, atol=0)
    for kind in ("maps", "signed_maps"):
        rank = localization.rank_accuracy(numbers[kind], masks).double()
        expected = numbers[f"quantus.rank_accuracy.{kind}"]
        torch.testing.assert_close(rank, expected, rtol=1e-6, atol=0)


def test_signed_relevance_counts_by_its_positive_part(oracles):
    """Quantus divides signed sums, which cancel: it gives a mass accuracy of 5334 here."""
    numbers = oracles.tensors(oracles["metrics/map_statistics_x64_b3"])
    maps, masks = numbers["signed_maps"], numbers["boxes"].bool()
    signed = (maps * masks).sum((1, 2)) / maps.sum((1, 2))
    torch.testing.assert_close(
        signed, numbers["quantus.mass_accuracy.signed_maps"], rtol=1e-6, atol=0
    )
    mass = localization.mass_accuracy(maps, masks)
    assert torch.equal(mass, localization.mass_accuracy(maps.relu(), masks))
    assert ((mass >= 0) & (mass <= 1)).all()


def test_the_grid_game_in_closed_form():
    """A constant map gives 0.25, whatever its height; one in the cell 1; nothing positive 0."""
    masks = torch.zeros(4, 8, 8, dtype=torch.bool)
    masks[:, :4, 4:] = True
    maps = torch.full((4, 8, 8), 3.0)
    maps[1] *= masks[1]
    maps[2] *= -1
    maps[3, 4:] = -7  # what speaks against it elsewhere takes nothing away
    expected = torch.tensor([0.25, 1.0, 0.0, 0.5])
    assert torch.equal(localization.grid_pointing(maps, masks), expected)


def test_iou_in_closed_form():
    saliency = torch.zeros(3, 10, 10)
    saliency[0, 2:6, 2:6], saliency[1, 2:6, 2:6] = 4.0, -1.0
    masks = torch.zeros(3, 10, 10, dtype=torch.bool)
    masks[:, 4:8, 2:6] = True
    # Overlap 8 of 24; what is negative or zero everywhere reaches no threshold.
    expected = torch.tensor([8 / 24, 0, 0])
    torch.testing.assert_close(localization.iou(saliency, masks), expected)
    saliency[0, 0, 0] = 2.0
    torch.testing.assert_close(localization.iou(saliency, masks, 0.4)[0], torch.tensor(8 / 25))


def test_box_iou_takes_the_largest_part_and_the_best_box():
    saliency = torch.zeros(2, 20, 20)
    saliency[0, 2:8, 3:9] = 1  # 36 pixels
    saliency[0, 12:17, 12:17] = 5  # 25 pixels, although brighter
    boxes = [torch.tensor([[12.0, 12, 17, 17], [3, 2, 9, 14]]), torch.zeros(0, 4)]
    torch.testing.assert_close(
        localization.box_iou(saliency, boxes, threshold=0.1).float(), torch.tensor([36 / 72, 0.0])
    )
    nothing = torch.tensor([[3.0, 3, 3, 3]])  # a box without area, and a map without a part
    assert localization.box_iou(torch.zeros(1, 20, 20), [nothing]).tolist() == [0]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 0.9), st.integers(1, 33), st.integers(1, 40))
def test_largest_component_is_scipys(seed, density, height, width):
    draw = torch.Generator().manual_seed(seed)
    masks = torch.rand(3, height, width, generator=draw) < density
    for mask, largest in zip(masks, localization.largest_component(masks), strict=True):
        labels, count = ndimage.label(mask.numpy(), structure=[[1] * 3] * 3)
        sizes = ndimage.sum_labels(mask.numpy(), labels, range(1, count + 1))
        labels = torch.from_numpy(labels)
        if count == 0:
            assert not largest.any()
            continue
        found = labels[largest].unique()
        assert len(found) == 1
        assert torch.equal(largest, labels == found[0])
        assert largest.sum() == sizes.max()


def test_largest_component_follows_a_spiral():
    mask = torch.zeros(61, 61, dtype=torch.bool)
    x = y = 30
    for turn in range(29):
        dx, dy = [(1, 0), (0, 1), (-1, 0), (0, -1)][turn % 4]
        for _ in range(2 * (turn // 2 + 1)):
            x, y = x + dx, y + dy
            mask[y, x] = True
    apart = mask.clone()
    apart[60, 60] = True
    assert torch.equal(localization.largest_component(apart[None])[0], mask)


def test_difficult_pairs_are_small_and_not_alone():
    masks = torch.zeros(3, 10, 10, dtype=torch.bool)
    masks[0, :5, :5] = masks[1, :4, :5] = masks[2, :4, :5] = True
    flags = localization.difficult(masks, torch.tensor([True, True, False]))
    assert flags.tolist() == [False, True, False]


def test_box_masks_cover_pixel_centres():
    mask = localization.box_masks([torch.tensor([[1.0, 0.4, 3.0, 2.5], [4.6, 3, 9, 9]])], (4, 6))[0]
    expected = torch.zeros(4, 6, dtype=torch.bool)
    expected[0:2, 1:3] = True
    expected[3, 5] = True
    assert torch.equal(mask, expected)
    for box, pixel in (((0.6, 1.6, 2.4, 3.4), (2, 1)), ((1.4, 0.3, 2.4, 1.4), (0, 1))):
        (mask,) = localization.box_masks([torch.tensor([box])], (4, 6))
        assert mask.nonzero().tolist() == [[*pixel]]


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match=r"masks has shape \(2, 5, 5\)"):
        localization.pointing_game(torch.zeros(2, 4, 4), torch.zeros(2, 5, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"not finite in images \[1\]"):
        localization.iou(torch.tensor([[[1.0]], [[torch.nan]]]), torch.ones(2, 1, 1))
    with pytest.raises(ValueError, match=r"boxes\[1\] has shape \(4,\)"):
        localization.box_masks([torch.zeros(0, 4), torch.zeros(4)], (5, 5))
    with pytest.raises(ValueError, match="2 tensors for 3 images"):
        localization.box_iou(torch.zeros(3, 4, 4), [torch.zeros(0, 4)] * 2)


def test_masks_of_0_and_255_are_booleans() -> None:
    saliency = torch.rand(3, 9, 9, generator=torch.Generator().manual_seed(0))
    region = torch.zeros(3, 9, 9, dtype=torch.bool)
    region[0, 2:5, 3:6] = region[1, 4] = True
    every = torch.ones(3, dtype=torch.bool)
    effects = [torch.tensor([1.0, 2.0, 0.5])] * 3
    for masks in (255 * region.byte(), 255.0 * region, region.long()):
        for grade in (
            localization.energy_pointing_game,
            localization.rank_accuracy,
            localization.iou,
            localization.pointing_game,
        ):
            assert torch.equal(grade(saliency, masks), grade(saliency, region)), grade.__name__
        small = localization.difficult(masks, every)
        assert torch.equal(small, localization.difficult(region, every))
        assert torch.equal(
            effect_correlation(saliency, [masks] * 3, effects),
            effect_correlation(saliency, [region] * 3, effects),
        )
