"""Values with comments in YAML: read for their schema and their table, so that neither is written a second time."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ASSETS = Path(__file__).parent / "assets"
_COMMENT = re.compile(r"^\s*# -- (?:\((map|list)\) )?(.*)$")
_KEY = re.compile(r"^(\s*)([A-Za-z][A-Za-z0-9-]*):")
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}


@dataclass(frozen=True, kw_only=True)
class Value:
    """One documented value: its path with dots, its default, and whether a map or a list is the user's own."""

    path: str
    default: Any
    text: str
    is_free: bool


def asset(name: str) -> str:
    """Return a text that several charts share."""
    return (ASSETS / name).read_text()


def documented(text: str) -> Iterator[Value]:
    """Walk the values of a YAML text that have a ``# -- `` comment before them."""
    loaded = yaml.safe_load(text)
    way: list[tuple[int, str]] = []
    comment: re.Match[str] | None = None
    free_at: int | None = None  # how deep the free map or list lies whose lines are passed over
    for line in text.splitlines():
        if found := _COMMENT.match(line):
            comment = found
            continue
        key = _KEY.match(line)
        if key is None or (free_at is not None and len(key[1]) > free_at):
            continue
        indent, free_at = len(key[1]), None
        way = [(depth, name) for depth, name in way if depth < indent] + [(indent, key[2])]
        if comment is None:
            continue
        path = [name for _, name in way]
        default = loaded
        for name in path:
            default = default[name]
        is_free = bool(comment[1])
        yield Value(path=".".join(path), default=default, text=comment[2], is_free=is_free)
        comment, free_at = None, indent if is_free else None


def schema(text: str, types: dict[str, str]) -> dict[str, Any]:
    """Return the JSON schema of a YAML text: no key but these, except in free maps and in lists.

    ``types`` tells what a value is that is empty by default: a JSON type, or "text" for words and numbers alike.
    """
    root: dict[str, Any] = _closed()
    for value in documented(text):
        at = root
        *folders, last = value.path.split(".")
        for folder in folders:
            at = at["properties"].setdefault(folder, _closed())
        kind: dict[str, Any]
        if value.is_free:
            kind = {"type": "array" if isinstance(value.default, list) else "object"}
        elif value.path not in types:
            kind = {"type": _TYPES[type(value.default)]}
        elif types[value.path] == "text":
            kind = {"type": ["string", "number"]}
        else:
            kind = {"anyOf": [{"const": ""}, {"type": types[value.path]}]}
        at["properties"][last] = {**kind, "description": value.text}
    return root


def _closed() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": {}}


def table(text: str) -> str:
    """Return the values as rows of Markdown."""
    rows = ["| value | default | meaning |", "|---|---|---|"]
    for value in documented(text):
        default = yaml.safe_dump(
            value.default, default_flow_style=True, sort_keys=False, width=1000
        )
        shown = default.strip().removesuffix("...").strip()
        rows.append(f"| `{value.path}` | `{shown}` | {value.text} |")
    return "\n".join(rows)
