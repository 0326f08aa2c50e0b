"""Protocols ask only for what there is."""

from __future__ import annotations

import pytest

from seewhy.evaluation.protocols import PROTOCOLS, protocol
from seewhy.metrics import metric
from seewhy.naming import parse


@pytest.mark.parametrize("name", PROTOCOLS)
def test_methods_and_metrics_exist(name):
    asked = protocol(name)
    assert [str(parse(method)) for method in asked.methods] == list(asked.methods)
    assert all(metric(one) for one in asked.metrics)
    assert {figure.metric for figure in asked.published} <= set(asked.metrics)
    assert asked.note


def test_an_unknown_protocol_lists_the_known():
    with pytest.raises(ValueError, match="there are gig-cam, global-guidance, tsgb, gradual"):
        protocol("score-cam")
