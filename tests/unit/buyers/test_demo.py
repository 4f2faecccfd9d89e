"""The demo's numbers: no run sells a product that an earlier one touched."""

import pathlib

import pytest

from buyers import demo


def test_number_is_never_taken_twice(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOORBUSTER_VAR", str(tmp_path))
    demo.folder().mkdir()
    assert demo.take_number([]) == 1
    assert demo.take_number(["iphone-drop"]) == 2
    assert demo.take_number([]) == 3  # somebody deleted both sales: inventory still knows them
    assert demo.take_number(["iphone-drop", "iphone-drop-41"]) == 42
    (demo.folder() / "number").unlink()
    assert demo.take_number(["mine"]) == 2
