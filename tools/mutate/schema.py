"""The properties of both specs, read from the CRD files: what there is to mutate is never listed by hand."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from devstack.layout import PROJECT

CRDS = PROJECT / "crds"


def properties(folder: Path = CRDS) -> tuple[str, ...]:
    """Return every property as ``Kind.path``, ``[]`` for what is in a list; objects are their properties."""
    found = []
    for path in sorted(folder.glob("*.yaml")):
        crd = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]
        schema = crd["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        found += [f"{crd['names']['kind']}.{at}" for at in _walk(schema, "")]
    return tuple(found)


def _walk(schema: dict[str, Any], at: str) -> Iterator[str]:
    for name, child in schema["properties"].items():
        here = f"{at}.{name}".lstrip(".")
        if child["type"] == "object":
            yield from _walk(child, here)
            continue
        yield here
        if child["type"] == "array" and child["items"]["type"] == "object":
            yield from _walk(child["items"], f"{here}[]")
