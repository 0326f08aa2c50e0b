"""Fixtures shared by all tests: the optional folder of reference numbers and real photos."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from reference import Oracles, read_oracles

SHARED = Path(__file__).resolve().parents[2] / "shared"
SUBSET = Path(__file__).resolve().parent / "oracles"


def pytest_runtest_setup() -> None:
    """What a test or its fixtures draw does not depend on the tests that ran before."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photos, weights and reference numbers."""
    if not SHARED.is_dir():
        pytest.skip("no shared/ folder beside the checkout (real photos and weights)")
    return SHARED


@pytest.fixture(scope="session")
def oracles() -> Oracles:
    """All reference numbers where they are at hand, else the subset that comes with the tests."""
    return read_oracles(SHARED / "oracles" if SHARED.is_dir() else SUBSET)
