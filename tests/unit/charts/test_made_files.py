"""What is made for the charts: in step with the services, whole, and closed against typing mistakes."""

import importlib
import inspect
import json
from unittest.mock import MagicMock

import pytest
import yaml

from charts import parts, render, values, words
from doorbuster.kit import web

EVERY = (*parts.PARTS, parts.OPERATOR)
BY_NAME = {part.name: part for part in EVERY}


def test_what_is_committed_is_what_would_be_made():
    stale = [
        name
        for name, text in render.all_files().items()
        if not (path := render.PROJECT / "charts" / name).exists() or path.read_text() != text
    ]
    assert not stale, "run `make charts`"


def test_every_setting_has_words_and_no_word_is_left_over():
    known = {
        each.variable for part in EVERY for each in parts.settings(part) if not each.neighbour
    }
    assert set(words.SETTINGS) == known


@pytest.mark.parametrize("part", EVERY, ids=lambda part: part.name)
def test_values_stand_in_the_order_of_the_programs_settings(part):
    made = yaml.safe_load(
        (render.PROJECT / f"charts/doorbuster-{part.name}/values.yaml").read_text()
    )
    order = [parts.camel(field.metadata["env"]) for field in parts.fields(part)]
    shown = [key for key in order if key in made["config"]]
    assert list(made["config"]) == shown
    assert shown


@pytest.mark.parametrize("part", EVERY, ids=lambda part: part.name)
def test_no_secret_is_a_value(part):
    secret = {parts.camel(field.metadata["env"]) for field in parts.fields(part) if not field.repr}
    made = yaml.safe_load(
        (render.PROJECT / f"charts/doorbuster-{part.name}/values.yaml").read_text()
    )
    assert not secret & set(made["config"])


def _open_objects(schema, path=""):
    found = []
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        found.append(path)
    for name, child in schema.get("properties", {}).items():
        found += _open_objects(child, f"{path}.{name}")
    return found


MAPS = {
    *("resources", "podLabels", "podAnnotations", "nodeSelector", "affinity"),
    *("serviceMonitor.labels", "ingress.annotations", "global", "doorbuster-lib"),
}


@pytest.mark.parametrize("part", EVERY, ids=lambda part: part.name)
def test_only_maps_of_the_user_take_any_key(part):
    path = render.PROJECT / f"charts/doorbuster-{part.name}/values.schema.json"
    opened = {
        each.lstrip(".")
        for each in _open_objects({**json.loads(path.read_text()), "additionalProperties": False})
    }
    assert opened <= MAPS
    assert opened


def test_every_value_is_documented():
    text = """
folder:
  # -- A number.
  known: 1
  # -- (map) Yours.
  free:
    any: thing
  inner:
    # -- Deep.
    deep: x
"""
    found = {each.path: each.default for each in values.documented(text)}
    assert found == {"folder.known": 1, "folder.free": {"any": "thing"}, "folder.inner.deep": "x"}


# --- who calls whom -------------------------------------------------------------------------------


def _routes(name):
    module = importlib.import_module(f"doorbuster.{name}.routes")
    made = []
    for _, thing in inspect.getmembers(module):
        if getattr(thing, "__module__", None) != module.__name__:
            continue
        table = getattr(thing, "routes", None) or getattr(thing, "table", None)
        if inspect.isclass(thing) and table is not None:
            needed = inspect.signature(thing).parameters
            made += table(thing(**{each: MagicMock() for each in needed}))
        elif inspect.isfunction(thing) and thing.__name__ == "routes":
            made += thing(*(MagicMock() for _ in inspect.signature(thing).parameters))
    return made


def _allowed(name):
    rules = [route.access for route in _routes(name) if isinstance(route.access, web.Callers)]
    return set().union(*(rule.names for rule in rules)) if rules else set()


SERVING = [part.name for part in parts.PARTS if part.name not in {"gateway", "cdc"}]


@pytest.mark.parametrize("name", SERVING)
def test_whoever_a_route_allows_finds_the_way_open(name):
    assert _routes(name)
    assert _allowed(name) <= set(parts.callers(BY_NAME[name]))


@pytest.mark.parametrize("name", SERVING)
def test_no_way_is_open_that_no_route_needs(name):
    """The gateway brings people's calls; everybody who checks people's tokens reads the public keys of user."""
    strangers = set(parts.callers(BY_NAME[name])) - _allowed(name) - {"gateway"}
    assert not strangers or name == "user", strangers
