"""What a run's manifest says, checked: the file may be anyone's, and may be damaged."""

from typing import Any

from pydantic import BaseModel, Field, ValidationError


class _Cell(BaseModel):
    network: str
    dataset: str


class _Cost(BaseModel):
    forward: float | None
    methods: dict[str, float | None]
    image: float | None = None


class _Config(BaseModel):
    name: str
    methods: list[str] = []


class _Manifest(BaseModel):
    """The parts that other code relies on; the rest is shown as it is."""

    config: _Config
    config_text: str
    config_hash: str
    seed: int
    versions: dict[str, str]
    device: str
    weights: dict[str, str]
    images: dict[str, str]
    networks: dict[str, str] = {}
    class_maps: dict[str, str] = {}
    plugins: dict[str, str] = {}
    created: str
    cells: list[_Cell]
    shards: int = Field(ge=0)
    calibration: dict[str, _Cost] | None


def check_manifest(content: Any) -> dict[str, Any]:
    """A manifest as it was read from its file.

    Raises ValueError that names the parts that are missing or of the wrong kind.
    """
    try:
        _Manifest.model_validate(content, strict=True)
    except ValidationError as error:
        parts = [".".join(map(str, one["loc"])) or "all of it" for one in error.errors()]
        shown = ", ".join(parts[:5]) + (", …" if len(parts) > 5 else "")
        raise ValueError(f"missing or of the wrong kind: {shown}") from None
    return dict(content)
