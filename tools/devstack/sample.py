"""Rendering a committed sample with a near opening time, and a size of one's own."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from .errors import StackError

WINDOW = timedelta(minutes=10)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration(text: str) -> timedelta:
    """``20s``, ``5m``, ``1h``, ``500ms`` or a number of seconds as a timedelta.

    Raises:
        ValueError: the text is none of these.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)?", text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no duration such as 20s, 5m or 1h")
    return timedelta(seconds=float(found[1]) * _UNITS[found[2] or "s"])


def render(
    path: Path,
    *,
    now: datetime,
    opens_in: timedelta,
    lasts: timedelta = WINDOW,
    units: int | None = None,
    hold_seconds: int | None = None,
    suffix: str = "",
) -> str:
    """The sample's YAML with openTime, closeTime, capacity and hold time replaced.

    ``suffix`` is appended to the names, the skus and their references, so that several sales of
    one sample live side by side.

    Raises:
        StackError: there is no such sample.
    """
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        known = ", ".join(sorted(other.stem for other in path.parent.glob("*.yaml")))
        raise StackError(f"no sample is called {path.stem}", hint=f"known: {known}") from error
    for document in documents:
        _rename(document, suffix)
        if document["kind"] == "InventoryPool" and units is not None:
            document["spec"]["capacity"] = units
        if document["kind"] == "FlashSale":
            _set_times(document["spec"], now, opens_in, lasts)
            if hold_seconds is not None:
                document["spec"]["reservationTimeoutSeconds"] = hold_seconds
    return yaml.safe_dump_all(documents, sort_keys=False)


def _set_times(spec: dict[str, Any], now: datetime, opens_in: timedelta, lasts: timedelta) -> None:
    opens = now + opens_in
    # A whole second: an opening time is announced to people.
    opens = opens.replace(microsecond=0) + timedelta(seconds=1 if opens.microsecond else 0)
    spec["openTime"] = opens.strftime("%Y-%m-%dT%H:%M:%SZ")
    spec["closeTime"] = (opens + lasts).strftime("%Y-%m-%dT%H:%M:%SZ")


def _rename(document: dict[str, Any], suffix: str) -> None:
    document["metadata"]["name"] += suffix
    spec = document["spec"]
    if document["kind"] == "InventoryPool":
        spec["sku"] += suffix
    for item in spec.get("items", ()):
        item["sku"] += suffix
        item["poolName"] += suffix


def shell_exports(values: Mapping[str, str], *, path_entry: Path | None = None) -> str:
    """``export NAME='value'`` lines that any POSIX shell can evaluate."""
    lines = [f"export {name}={quoted(value)}" for name, value in sorted(values.items())]
    if path_entry is not None:
        lines.append(f'export PATH={quoted(str(path_entry))}:"$PATH"')
    return "\n".join(lines) + "\n"


def quoted(value: str) -> str:
    """A word in single quotes, whatever it holds."""
    return "'" + value.replace("'", "'\\''") + "'"
