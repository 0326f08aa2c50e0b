"""Reference numbers, as tests read them and compare with them."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file


@dataclass(frozen=True)
class Oracles:
    """Reference numbers with the tiny networks that they belong to."""

    root: Path
    cases: dict[str, dict[str, Any]]
    networks: ModuleType

    def __getitem__(self, case_id: str) -> dict[str, Any]:
        if case_id not in self.cases:
            pytest.skip(f"{case_id} is not among the reference numbers of a plain clone")
        return self.cases[case_id]

    def ids(self, prefix: str) -> list[str]:
        return [case_id for case_id in self.cases if case_id.startswith(prefix)]

    def tensors(self, case: dict[str, Any]) -> dict[str, torch.Tensor]:
        return load_file(self.root / case["file"])

    def model(
        self, case: dict[str, Any], dtype: torch.dtype = torch.float64, inplace: bool = True
    ) -> torch.nn.Module:
        spec = case["model"]
        return self.networks.load(
            spec["builder"], self.root / spec["weights"], inplace=inplace, dtype=dtype
        )

    def inputs(self, case: dict[str, Any], dtype: torch.dtype = torch.float64) -> torch.Tensor:
        spec = case["input"]
        x = load_file(self.root / spec["file"])[spec["tensor"]]
        return (x[spec["index"]][None] if "index" in spec else x).to(dtype)


def read_oracles(root: Path) -> Oracles:
    """The oracles below `root`."""
    spec = importlib.util.spec_from_file_location("tiny_models", root / "tiny_models.py")
    assert spec is not None
    assert spec.loader is not None
    networks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(networks)
    manifest = json.loads((root / "manifest.json").read_text())
    return Oracles(root, {case["id"]: case for case in manifest["cases"]}, networks)


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """max|actual - expected| / max|expected|, as the reference numbers' tolerances define it."""
    assert actual.shape == expected.shape, f"{tuple(actual.shape)} != {tuple(expected.shape)}"
    scale = expected.abs().max().clamp_min(1e-30)
    return float((actual.to(expected.dtype) - expected).abs().max() / scale)
