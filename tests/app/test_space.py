"""The example of a Hugging Face Space builds the page, and answers under the Space's own name."""

from __future__ import annotations

import runpy
from importlib.metadata import version
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

SPACE = Path(__file__).resolve().parents[2] / "examples" / "space"


@pytest.fixture(scope="module")
def facts() -> dict[str, str]:
    """The front matter of the README."""
    _, front, _ = (SPACE / "README.md").read_text().split("---\n", 2)
    return dict(line.split(": ", 1) for line in front.splitlines())


def test_the_app_builds_the_page_for_any_host(facts):
    app = runpy.run_path(str(SPACE / facts["app_file"]))["app"]
    headers = {"x-forwarded-proto": "https", "x-forwarded-host": "someone-seewhy.hf.space"}
    with TestClient(app, base_url="http://someone-seewhy.hf.space") as client:
        assert client.get("/", headers=headers).status_code == 200
        config = client.get("/config", headers=headers).json()
        assert config["root"].startswith("https://someone-seewhy.hf.space")
        origin = {**headers, "origin": "https://someone-seewhy.hf.space"}
        assert client.post("/samples/0", headers=origin).status_code == 200
        assert client.get("/gradio_api/file=/etc/passwd").status_code == 404


def test_the_front_matter_is_what_a_space_needs(facts):
    assert facts["sdk"] == "gradio"
    assert facts["sdk_version"].split(".")[0] == version("gradio").split(".")[0]
    assert len(facts["short_description"]) <= 60
    assert "seewhy[app]" in (SPACE / "requirements.txt").read_text()
