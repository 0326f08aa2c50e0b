"""Files, folders and globs as a person names them."""

from __future__ import annotations

from pathlib import Path

import pytest

from seewhy.data.finding import find_images
from seewhy.data.images import ImageError


def test_find_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [
        "b.JPG",
        "a.png",
        "deep/er/c.webp",
        "notes.txt",
        ".hidden.png",
        ".git/d.png",
        "x[1].gif",
    ]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"?")
    (tmp_path / "folder.png").mkdir()

    def found(*given: str) -> list[str]:
        paths = find_images([str(tmp_path / name) for name in given])
        return [path.relative_to(tmp_path).as_posix() for path in paths]

    everything = ["a.png", "b.JPG", "deep/er/c.webp", "x[1].gif"]
    assert found("") == everything
    assert found("**/*") == everything
    assert found("*.png") == ["a.png"]
    assert found("d*") == ["deep/er/c.webp"]
    assert found("x[1].gif") == ["x[1].gif"]
    assert found("notes.txt") == ["notes.txt"], "named outright"
    assert found("b.JPG", "a.png", "deep/../a.png", "") == everything
    monkeypatch.chdir(tmp_path)
    assert find_images("a.png") == [Path("a.png")]
    assert find_images(["a.png", tmp_path / "a.png"]) == [Path("a.png")]
    for pattern in ("**/*.webp", "**/er/*", "d*/**", "**/**/c.webp", "deep/**/**", "*/*/**.webp"):
        assert found(pattern) == ["deep/er/c.webp"], pattern
    for nothing in ("missing.jpg", "*.tiff", "*.txt", "folder.png"):
        with pytest.raises(ImageError, match=r"^\S*" + nothing.replace("*", r"\*")):
            found("a.png", nothing)


def test_links_in_a_ring(tmp_path: Path) -> None:
    """Two links to the folder itself make 2 ** 40 paths of names that the system takes."""
    (tmp_path / "a.png").write_bytes(b"?")
    for name in ("in", "again"):
        (tmp_path / name).symlink_to(".")
    (tmp_path / "self.png").symlink_to("self.png")
    for given in (tmp_path, tmp_path / "**" / "*.png", tmp_path / "*" / "**"):
        assert "a.png" in {path.name for path in find_images(given)}
    with pytest.raises(ImageError, match="no such file"):
        find_images(tmp_path / "self.png" / "b.png")
