"""The page: what is escaped, what it may load, and what it does in a browser is in test_report."""

from __future__ import annotations

import base64
import re
from hashlib import sha256

from PIL import Image

from seewhy.draw.page import Entry, Heading, folded, highlights, labels, page, strip, table, tabs

EVIL = '<img src=x onerror="alert(1)">&'


def test_every_text_is_escaped():
    picture = Image.new("RGB", (8, 8))
    parts = [
        strip(EVIL, [(EVIL + "\n" + EVIL, picture)]),
        table(EVIL, [EVIL, Heading(EVIL, EVIL)], [[EVIL, Entry("", hint=EVIL)]]),
        folded(EVIL),
        highlights([EVIL]),
        labels([(EVIL, True)]),
        tabs("a", [(EVIL, ""), (EVIL, "")]),
    ]
    found = page(EVIL, EVIL, parts)
    assert "onerror=&quot;" in found
    assert "<img src=x" not in found
    assert 'onerror="' not in found


def test_only_its_own_script_may_run_and_nothing_be_fetched():
    found = page("t", "i", [])
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', found)
    assert policy
    assert policy[1].startswith("default-src 'none'; img-src data:;")
    (script,) = re.findall(r"<script>(.*?)</script>", found, re.DOTALL)
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy[1]
    assert "://" not in found


def test_pictures_are_embedded_small():
    found = strip("", [("a", Image.new("RGB", (4000, 1000), "red"))], width=64)
    data = re.search(r"data:image/webp;base64,([^\"]+)", found)
    assert data
    from io import BytesIO

    picture = Image.open(BytesIO(base64.b64decode(data[1])))
    assert picture.size == (64, 16)
    red, green, blue = picture.convert("RGB").getpixel((30, 8))
    assert red > 230 > 20 > max(green, blue)


def test_tables_say_by_what_they_are_sorted():
    found = table("", ["m", Heading("score", "3 images", True)], [["a", Entry("0.5 ≈", 0.51)]])
    assert 'data-value="0.51">0.5 ≈<' in found
    assert 'data-first="high"' in found
    assert 'data-value=""' in table("", ["m"], [[Entry("–")]])
    assert "<thead>" not in table("", [], [["a"]])
