"""What holds of every field of both schemas, read from the CRD files themselves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

CRDS = sorted((Path(__file__).parents[2] / "crds").glob("*.yaml"))
SERVERS_OWN = {"apiVersion", "kind", "metadata"}
pytestmark = pytest.mark.parametrize("path", CRDS, ids=lambda path: path.stem)


def _fields(schema: dict[str, Any], at: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field below a schema with its path; ``[]`` marks what is in a list."""
    for name, child in schema.get("properties", {}).items():
        if at or name not in SERVERS_OWN:
            yield f"{at}.{name}", child
            yield from _fields(child, f"{at}.{name}")
    if "items" in schema:
        yield f"{at}[]", schema["items"]
        yield from _fields(schema["items"], f"{at}[]")


def _schema(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())["spec"]["versions"][0]["schema"]
    return found["openAPIV3Schema"]  # type: ignore[no-any-return]


def test_every_field_is_described_in_sentences_for_kubectl_explain(path):
    fields = {at: field for at, field in _fields(_schema(path)) if not at.endswith("[]")}
    assert len(fields) > 20
    poor = [at for at, field in fields.items() if not field.get("description", "").endswith(".")]
    assert poor == []


def test_every_description_names_the_default_and_the_unit(path):
    spec = _schema(path)["properties"]["spec"]
    for at, field in _fields(spec, "spec"):
        words = field.get("description", "")
        default = field.get("default", {})
        assert default == {} or str(default) in words, f"{at} does not tell its default"
        assert "Seconds" not in at.rpartition(".")[2] or "seconds" in words, f"{at}: which unit?"


def test_every_field_has_a_limit(path):
    """What validation costs is known to the API server, and an object stays small."""
    for at, field in _fields(_schema(path)):
        match field["type"]:
            case "string":
                limited = (
                    field.keys() & {"maxLength", "enum"} or field.get("format") == "date-time"
                )
            case "array":
                limited = "maxItems" in field and "x-kubernetes-list-type" in field
            case "integer":
                limited = field["format"] in {"int32", "int64"}
            case "object":
                limited = "properties" in field and "additionalProperties" not in field
            case _:
                limited = False
        assert limited, f"{at} has no limit"


def test_no_field_keeps_what_the_schema_does_not_know(path):
    text = path.read_text()
    assert "preserve-unknown-fields" not in text
    assert "int-or-string" not in text
    assert "type: number" not in text


COLUMNS = {
    "flashsales": (
        ["Phase", "Opens", "Closes", "Sold", "Available", "Ready", "Age"],
        ["Next", "Reserved", "Epoch", "Skew", "Message"],
    ),
    "inventorypools": (
        ["Sku", "Desired", "Capacity", "Available", "Sold", "Ready", "Age"],
        ["Reserved", "Safety", "Epoch", "Message"],
    ),
}


def test_the_columns_are_as_documented_and_each_shows_a_field_of_the_schema(path):
    columns = yaml.safe_load(path.read_text())["spec"]["versions"][0]["additionalPrinterColumns"]
    for is_wide, names in enumerate(COLUMNS[path.stem]):
        assert [each["name"] for each in columns if each.get("priority", 0) == is_wide] == names
    known = {at for at, _ in _fields(_schema(path))} | {".metadata.creationTimestamp"}
    for column in columns:
        assert column["jsonPath"].partition("[?")[0] in known, column["name"]
        is_date = column["type"] == "date"  # shows <invalid> for times to come
        assert is_date == (column["name"] == "Age")
