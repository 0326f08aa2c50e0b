"""Text from outside: what is shown of it, and what is read at all."""

from __future__ import annotations

import os

import pytest

from seewhy.printable import on_one_line, printable
from seewhy.reading import parsed, text_of


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("café, 猫\tand\n🔍", "café, 猫\tand\n🔍"),
        ("\x1b[2J\x1b]0;t\x07", r"\x1b[2J\x1b]0;t\x07"),
        ("a\rb\x7f\x9b", r"a\rb\x7f\x9b".replace(r"\r", r"\x0d")),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("\ud800", r"\ud800"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\u2028", r"\u2028"),
    ],
)
def test_what_is_no_writing_is_spelled_out(text, shown):
    assert printable(text) == shown
    printable(text).encode()
    assert on_one_line(text) == shown.replace("\t", r"\t").replace("\n", r"\n")


def test_consoles_show_no_control_codes(capsys):
    from rich.table import Table

    from seewhy.cli.common import out

    table = Table("\x1b[1mhead")
    table.add_row("\x1b[2Jcell")
    out.print("[b]\x1b]0;title\x07[/b]", table)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    for word in (r"\x1b]0;title\x07", r"\x1b[1mhead", r"\x1b[2Jcell"):
        assert word in shown


def test_files_within_bounds(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"\xef\xbb\xbfcaf\xc3\xa9")
    assert text_of(path) == "café"
    assert text_of(path, 8) == "café"
    with pytest.raises(ValueError, match="longer than 7 bytes"):
        text_of(path, 7)
    path.write_bytes(b"ab\xff")
    with pytest.raises(ValueError, match=r"not UTF-8 .* at byte 2"):
        text_of(path)
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(ValueError, match="not a regular file"):
            text_of(tmp_path / name)
    for name in ("none", "x" * 300, "loop"):
        (tmp_path / "loop").unlink(missing_ok=True)
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        with pytest.raises(ValueError, match=r"no such file|File name too long|symbolic links"):
            text_of(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("{", "not JSON"),
        ('{"a": 1, "a": 2}', "the key 'a' is there twice"),
        ("1" * 10_000, "not JSON"),
    ],
)
def test_what_is_no_json(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        parsed(text)
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        parsed(text_of(tmp_path / "a.json"))
