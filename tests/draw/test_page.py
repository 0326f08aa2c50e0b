"""Pages: what is escaped, what they may load; what they do in a browser is in test_report."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from hashlib import sha256
from io import BytesIO

import pytest
from markupsafe import Markup
from PIL import Image

import seewhy
from seewhy.draw.page import breakable, embedded, render, write_page

EVIL = '<img src=x onerror="alert(1)">&_+'


def comparison(**values: object) -> Markup:
    """A page of a template with given texts and nothing else on it."""
    return render("comparison.html", **given(**values))


def given(**values: object) -> dict[str, object]:
    """What that template takes."""
    nothing = {"verdicts": [], "unfinished": [], "panels": [], "lone": [], "settings": []}

    class Empty:
        folder = "run"

    return {"words": None, "first": Empty, "second": Empty, **nothing, **values}


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of a file's size")
def test_a_full_disk_leaves_the_page_that_was_there(tmp_path):
    import resource

    path = tmp_path / "page.html"
    path.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
    try:
        with pytest.raises(OSError, match=r"page\.html: cannot be written \(File too large\)"):
            write_page(path, "comparison.html", **given())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("page.html", "old")]


def test_every_text_is_escaped():
    class Evil:
        folder = EVIL

    found = comparison(
        first=Evil, second=Evil, verdicts=[EVIL], lone=[EVIL], settings=[(EVIL, EVIL, EVIL)]
    )
    assert found.count("onerror=&#34;") == 7
    assert "<img" not in found
    assert 'onerror="' not in found
    assert breakable(EVIL) == "&lt;img src=x onerror=&#34;alert(1)&#34;&gt;&amp;_<wbr>+<wbr>"


def test_only_its_own_script_may_run_and_nothing_be_fetched():
    found = comparison()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', found)
    assert policy
    assert policy[1].startswith("default-src 'none'; img-src data:;")
    (script,) = re.findall(r"<script>(.*?)</script>", found, re.DOTALL)
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy[1]
    assert "://" not in found


def test_pictures_are_embedded_small():
    data = embedded(Image.new("RGB", (4000, 1000), "red"), 64)
    head, _, content = data.partition(",")
    assert head == "data:image/webp;base64"
    picture = Image.open(BytesIO(base64.b64decode(content)))
    assert picture.size == (64, 16)
    red, green, blue = picture.convert("RGB").getpixel((30, 8))
    assert red > 230 > 20 > max(green, blue)


def test_seewhy_is_imported_without_templates():
    code = "import sys, seewhy; sys.exit('jinja2' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert seewhy.__file__
