"""The grammar of names: round trips, and errors that point at the word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import seewhy
from networks import Cnn, images, seeded
from seewhy import Method, Refinement
from seewhy.naming import METHODS, REFINEMENTS, Entry, parse


@pytest.fixture(autouse=True)
def _refinement(monkeypatch):
    """A refinement whose effect is easy to see."""

    def scaled(probe, method, *, by=2.0, steps=(1, 2)):
        """Multiply."""
        return method(probe) * by

    monkeypatch.setitem(REFINEMENTS, "scaled", Entry("scaled", scaled, "none", "0"))


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(eps=st.integers(0, 10**6) | st.floats(0, 1e6), by=values, steps=values, twice=st.booleans())
def test_names_and_objects_are_the_same_thing(eps, by, steps, twice):
    entry = Entry("scaled", lambda probe, method, *, by=1, steps=2: None, "", "")
    REFINEMENTS.setdefault("scaled", entry)
    method = Method("xgrad_cam", eps=eps) + Refinement("scaled", steps=steps, by=by)
    if twice:
        method = method + Refinement("scaled")
    assert parse(str(method)) == method
    assert str(parse(str(method))) == str(method)


@pytest.mark.parametrize(
    ("spelled", "canonical"),
    [
        ("grad_cam", "grad_cam"),
        (" grad_cam + scaled ", "grad_cam+scaled"),
        ("xgrad_cam(eps=1e-3)+scaled(steps=[1,2], by=3)", None),
        ("grad_cam+scaled(steps=(1,), by=-1.5)", "grad_cam+scaled(by=-1.5, steps=(1,))"),
    ],
)
def test_spelling(spelled, canonical):
    expected = canonical or "xgrad_cam(eps=0.001)+scaled(by=3, steps=(1, 2))"
    assert str(parse(spelled)) == expected


def test_maps_are_under_the_names_as_they_were_asked():
    asked = ["grad_cam+multiscale(scales=(1,1.5))", "layer_cam"]
    found = seewhy.explain(seeded(Cnn), images(), asked)
    assert list(found) == asked


def test_refinements_apply_in_the_order_written(monkeypatch):
    monkeypatch.setitem(METHODS, "one", Entry("one", lambda probe: torch.ones(1, 1, 1), "", ""))
    probe = seewhy.Probe(seeded(Cnn), images()[:1])
    assert parse("one+scaled(by=3)+scaled")(probe).item() == 6.0


@pytest.mark.parametrize(
    ("returned", "what"), [(None, "NoneType"), (torch.ones(1, 4, 4), r"\(1, 4, 4\)")]
)
def test_a_method_that_returns_no_map_per_image_says_so(monkeypatch, returned, what):
    monkeypatch.setitem(METHODS, "odd", Entry("odd", lambda probe: returned, "", ""))
    monkeypatch.setitem(REFINEMENTS, "odder", Entry("odder", lambda *given: returned, "", ""))
    for name in ("odd", r"grad_cam+odder"):
        message = f"{re.escape(name)} returned {what}; it should be a map per image"
        with pytest.raises(ValueError, match=message):
            seewhy.explain(seeded(Cnn), images(), name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grad_camm", "unknown method 'grad_camm'; did you mean 'grad_cam'"),
        ("grad_cam+scald", "unknown refinement 'scald'; did you mean 'scaled'"),
        ("scaled", "'scaled' is a refinement"),
        ("grad_cam+layer_cam", "'layer_cam' is a method"),
        ("xgrad_cam(epz=1)", "no option 'epz'; did you mean 'eps'"),
        ("grad_cam(eps=1)", "takes none"),
        ("xgrad_cam(1)", "name each option"),
        ("xgrad_cam(eps=1, eps=2)", "eps is given twice in 'xgrad_cam"),
        ("xgrad_cam(eps=foo)", "cannot read eps=foo"),
        ("grad_cam*scaled", r"cannot read 'grad_cam\*scaled'"),
        ("grad_cam+", "cannot read the method"),
        ("", "cannot read the method"),
        ("Grad-CAM", "did you mean 'grad_cam'"),
        ("gradcam++", "did you mean 'grad_cam_plus_plus'"),
    ],
)
def test_errors_point_at_the_word(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_names_of_other_libraries_lead_to_ours():
    page = (Path(__file__).parents[1] / "docs/coming-from.md").read_text()
    asked = {"smoothgrad": "gradient+smooth", "ig": "integrated_gradients",
             "lrp": "excitation_backprop", "vargrad": "gradient+smooth",
             "Grad-CAM++": "grad_cam_plus_plus", "eigencam": "eigen_cam"}  # fmt: skip
    for line in page.splitlines():
        cells = [cell.partition("`:")[0] + "`" for cell in (line + "||").split("|")[1:3]]
        theirs, ours = [re.findall(r"`(\w*)(?:\(.*?\))?`", cell) for cell in cells]
        if theirs and len(theirs) == len(ours) and all(name in METHODS for name in ours):
            asked |= dict(zip(theirs, ours, strict=True))
    assert len(asked) > 35
    for theirs, ours in asked.items():
        if theirs != ours:
            with pytest.raises(ValueError, match=re.escape(f"; did you mean '{ours}'?")):
                parse(theirs)
            assert str(parse(ours)) == ours


def test_listing_has_what_a_user_wants_to_know():
    for name in seewhy.list_methods():
        entry = METHODS[name]
        assert entry.summary.endswith(".")
        assert entry.source
        assert entry.passes
