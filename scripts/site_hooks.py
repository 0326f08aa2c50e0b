"""Hooks of MkDocs: the gallery, links out of docs/, and names that break in narrow tables."""

from __future__ import annotations

import re
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import Any


def on_config(config: Any) -> None:
    """Put every page of docs/methods into the gallery, the table of them first."""
    pages = sorted(path.name for path in Path(config.docs_dir, "methods").glob("*.md"))
    pages.sort(key=lambda name: name != "README.md")
    for entry in config.nav:
        if "Gallery" in entry:
            entry["Gallery"] = [f"methods/{name}" for name in pages]


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Rewrite `](../benchmarks/recipes)`, which is right on GitHub, for the site."""
    here = dirname(page.file.src_uri)

    def lead(found: re.Match[str]) -> str:
        target = normpath(join("docs", here, found[1]))
        if target.startswith("docs/"):
            return found[0]
        return f"]({config.repo_url}/blob/main/{target}{found[2] or ''})"

    return re.sub(r"\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)", lead, markdown.replace("\r", ""))


def on_page_content(html: str, **_: Any) -> str:
    """Let names in tables break behind underscores and brackets, and before a plus."""

    def code(found: re.Match[str]) -> str:
        return re.sub(r"(?<=[_(])(?=\w)|(?=\+\w)", "<wbr>", found[0])

    def cell(found: re.Match[str]) -> str:
        return re.sub(r"<code>[^<]+", code, found[0])

    return re.sub(r"<td[ >].*?</td>", cell, html, flags=re.DOTALL)
