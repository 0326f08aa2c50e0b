"""A hook of MkDocs: links from docs/ to other parts of the repository lead to the repository."""

from __future__ import annotations

import re
from posixpath import dirname, join, normpath
from typing import Any


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Rewrite `](../benchmarks/recipes)`, which is right on GitHub, for the site."""
    here = dirname(page.file.src_uri)

    def lead(found: re.Match[str]) -> str:
        target = normpath(join("docs", here, found[1]))
        if target.startswith("docs/"):
            return found[0]
        return f"]({config.repo_url}/blob/main/{target}{found[2] or ''})"

    return re.sub(r"\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)", lead, markdown.replace("\r", ""))
