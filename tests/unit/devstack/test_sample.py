"""Samples rendered with a near opening, and exports that a shell reads back."""

import shlex
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from devstack import sample
from devstack.errors import StackError
from devstack.layout import PROJECT

NOW = datetime(2026, 11, 27, 11, 59, 30, 250_000, tzinfo=UTC)
DROP = PROJECT / "manifests" / "samples" / "iphone-drop.yaml"


def rendered(**changes):
    text = sample.render(DROP, now=NOW, opens_in=timedelta(seconds=20), **changes)
    documents = {document["kind"]: document for document in yaml.safe_load_all(text)}
    return documents["InventoryPool"], documents["FlashSale"]


def test_it_opens_on_a_whole_second_not_before_it_was_asked_to():
    _, sale = rendered()
    assert sale["spec"]["openTime"] == "2026-11-27T11:59:51Z"
    assert sale["spec"]["closeTime"] == "2026-11-27T12:09:51Z"


def test_the_committed_size_stays_unless_units_are_given():
    committed = {d["kind"]: d for d in yaml.safe_load_all(DROP.read_text(encoding="utf-8"))}
    pool, _ = rendered()
    assert pool["spec"]["capacity"] == committed["InventoryPool"]["spec"]["capacity"]
    pool, sale = rendered(units=77, hold_seconds=10)
    assert pool["spec"]["capacity"] == 77
    assert sale["spec"]["reservationTimeoutSeconds"] == 10


def test_a_suffix_renames_everything_that_belongs_together():
    pool, sale = rendered(suffix="-2")
    assert pool["metadata"]["name"].endswith("-2")
    assert sale["metadata"]["name"].endswith("-2")
    assert sale["spec"]["items"][0]["poolName"] == pool["metadata"]["name"]
    assert sale["spec"]["items"][0]["sku"] == pool["spec"]["sku"]


def test_an_unknown_sample_is_refused_with_the_known_ones():
    with pytest.raises(StackError) as caught:
        sample.render(DROP.with_name("nothing.yaml"), now=NOW, opens_in=timedelta(0))
    assert "iphone-drop" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "seconds"), [("20s", 20), ("5m", 300), ("1h", 3600), ("500ms", 0.5), ("7", 7)]
)
def test_durations_as_people_write_them(text, seconds):
    assert sample.duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "soon", "-5s", "5 d"])
def test_anything_else_is_no_duration(text):
    with pytest.raises(ValueError, match="is no duration"):
        sample.duration(text)


def test_a_shell_reads_back_what_is_exported(tmp_path):
    values = {"A": 'it\'s $HOME `x` "q"', "B": "redis://:pw@127.0.0.1:1/0"}
    script = (
        sample.shell_exports(values, path_entry=tmp_path) + 'printf "%s|%s|%s" "$A" "$B" "$PATH"'
    )
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    a, b, path = done.stdout.split("|", 2)
    assert (a, b) == (values["A"], values["B"])
    assert path.startswith(f"{tmp_path}:")
    assert shlex.split(script.splitlines()[0]) == ["export", f"A={values['A']}"]
