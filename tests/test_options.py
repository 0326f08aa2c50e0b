"""Options are checked by the annotations of the functions that take them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

import seewhy
from networks import Cnn, images, seeded
from seewhy import Method, Refinement
from seewhy.naming import METHODS, REFINEMENTS, parse
from seewhy.options import LONGEST, Range, check, settled

NAN, INF = float("nan"), float("inf")


def example(
    *,
    count: Annotated[int, Range(least=1, most=10)] = 1,
    share: Annotated[float, Range(above=0, below=1)] = 0.5,
    size: float = 1.0,
    patch: Annotated[int, Range(least=1)] | None = None,
    kind: Literal["a", "b"] | float = "a",
    several: Sequence[Annotated[float, Range(above=0)]] = (1,),
    pair: tuple[int, str] = (1, "a"),
    image: Tensor | None = None,
    flag: bool = False,
    free=None,
):
    """Nothing."""


@pytest.mark.parametrize(
    ("option", "good", "bad"),
    [
        ("count", [1, 10], [0, 11, -1, 1.0, True, "1", None, NAN, (1,), 10**400]),
        ("share", [0.5, 1e-300], [0, 1, 0.0, -0.1, NAN, INF, "x", None, False]),
        ("size", [0, -1, 1e38, 10**9], [NAN, 2**70, INF, -INF, 10**400, 1j, "1", [], {}]),
        ("patch", [None, 1, 10**9], [0, -1, 1.5, "none", ()]),
        ("kind", ["a", "b", 0, 2.5], ["c", "", "A", True, NAN, None, b"a"]),
        ("several", [(1,), [0.1, 2]], [(), (0,), ("x",), 1, "11", (1, NAN), (1,) * (LONGEST + 1)]),
        ("pair", [(1, "a"), [2, "b"]], [(1,), (1, 2), ("a", 1), (1, "a", "b"), None]),
        ("image", [None, torch.zeros(2)], [0, "x", [1]]),
        ("flag", [True, False], [0, 1, "yes", None]),
        ("free", [None, "anything", 1j], []),
    ],
)
def test_each_kind_of_annotation(option, good, bad):
    for value in good:
        check("'example'", example, {option: value})
    for value in bad:
        with pytest.raises(ValueError, match=f"(?s)^{option}=.*; it should be .*'example'$"):
            check("'example'", example, {option: value})


@pytest.mark.parametrize(
    ("spelled", "message"),
    [
        (
            "grad_cam+gradual(depth=-1)",
            "depth=-1; it should be a whole number, at least 1, or None",
        ),
        ("xgrad_cam(eps='x')", "eps='x'; it should be a finite number, at least 0"),
        ("xgrad_cam(eps=1e999)", "eps=inf"),
        ("rise(masks=1000000000000)", "at most 100,000"),
        ("random(seed=-1)", "seed=-1"),
        ("random(seed=4294967296)", "at most 4,294,967,295"),  # it would draw as seed=0 does
        ("random(seed=True)", "seed=True; it should be a whole number"),
        ("tsgb(signed='yes')", "signed='yes'; it should be True or False"),
        ("grad_cam+multiscale(scales=(1, 1e38))", "scales="),
        ("grad_cam+multiscale(scales=2)", "scales=2; it should be 1 to 1000 values"),
        (
            "gig_cam(baseline='white')",
            "it should be 'black' or 'darkest' or 'blurred' or 'blur' or 'random', or a finite",
        ),
        ("finer_cam(base=3)", "base=3; it should be a name"),
        ("finer_cam(base='grad_camm')", "base='grad_camm', for method 'finer_cam': unknown method"),
        ("grad_cam+detail(by='detail')", "'detail' is a refinement"),
    ],
)
def test_nonsense_is_refused_before_a_network_is_there(spelled, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        parse(spelled)


def test_numbers_of_other_libraries_are_numbers():
    method = Method("rise", masks=np.int64(20), keep=np.float32(0.5))
    assert str(method) == "rise(masks=20, keep=0.5)"
    assert parse(str(method)) == method


def test_an_array_is_a_tensor_where_one_is_wanted():
    for kind in ("<f4", ">f4", ">i2"):
        given = np.arange(4).reshape(2, 2)[::-1].astype(kind)
        found = settled("a method", example, {"image": given})["image"]
        assert found.tolist() == given.tolist()
        given[:] = 0
        assert found.any()
    with pytest.raises(ValueError, match="a dense tensor of real numbers"):
        settled("a method", example, {"image": np.array(["a"])})


def test_a_float_without_a_fraction_is_a_whole_number():
    assert parse("rise(masks=2e3)") == parse("rise(masks=2000)")
    assert settled("'example'", example, {"count": 3.0, "size": 3.0, "patch": np.float32(2)}) == {
        "count": 3, "size": 3.0, "patch": 2
    }  # fmt: skip
    assert type(settled("'example'", example, {"count": 3.0})["count"]) is int
    for wrong in (0.0, 2.5, 11.0, INF, NAN):
        with pytest.raises(ValueError, match=f"^count={wrong}; it should be a whole number"):
            settled("'example'", example, {"count": wrong})
    assert seewhy.load_image(np.zeros((2, 2), np.uint8), max_pixels=1e8).size == (2, 2)


def test_messages_are_short_whatever_the_value():
    for value in ("x" * 10**6, 10**5000, (1,) * 10**6, [["deep"] * 1000]):
        with pytest.raises(ValueError, match="eps=") as error:
            Method("xgrad_cam", eps=value)
        assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    "text", ["grad_cam" + "+smooth" * 20_000, "xgrad_cam(eps=" + "-" * 20_000 + "1)", "(" * 5000]
)
def test_names_that_never_end(text):
    with pytest.raises(ValueError, match=r"cannot read|at most"):
        parse(text)


def test_every_registered_option_has_an_annotation_that_its_default_fits():
    for kind, entries in ((Method, METHODS), (Refinement, REFINEMENTS)):
        for name, entry in entries.items():
            if not entry.function.__module__.startswith("seewhy."):
                continue  # another test's
            for parameter in inspect.signature(entry.function).parameters.values():
                assert parameter.annotation is not parameter.empty, (name, parameter.name)
            kind(name, **entry.options)
            for option in entry.options:
                with pytest.raises(ValueError, match=f"{option}="):
                    kind(name, **{option: object()})


def test_layers_that_are_none():
    model, x = seeded(Cnn), images(1)
    with pytest.raises(ValueError, match="layer is an empty list"):
        seewhy.explain(model, x, "grad_cam", 1, layer=[])
    with pytest.raises(TypeError, match="layer is a int"):
        seewhy.explain(model, x, "grad_cam", 1, layer=3)


def test_an_image_that_is_not_finite_costs_no_other_its_map():
    model, x = seeded(Cnn), images(2)
    expected = seewhy.explain(model, x, "eigen_cam", 1)
    x[1, 0, 0, 0] = torch.inf
    found = seewhy.explain(model, x, "eigen_cam", 1)
    assert torch.allclose(found[0], expected[0])
    assert found[1].isnan().all()


def test_plugins_need_no_annotations():
    def doubled(probe, *, by=2):
        """Twice."""

    seewhy.naming.method("none", "0")(doubled)
    try:
        assert str(Method("doubled", by="x")) == "doubled(by='x')"
    finally:
        del METHODS["doubled"]
