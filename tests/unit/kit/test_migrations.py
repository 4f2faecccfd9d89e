"""Every service's newest revision is the one its files say, and the files agree with themselves."""

import importlib
import re
from importlib import resources

import pytest

from doorbuster.__main__ import STORED
from doorbuster.kit import migrations, process


@pytest.mark.parametrize("service", STORED)
def test_a_services_history_is_one_line_that_ends_at_its_head(service: str) -> None:
    package = f"doorbuster.{service}"
    folder = resources.files(package) / "migrations" / "versions"
    files = sorted(entry.name for entry in folder.iterdir() if re.match(r"\d", entry.name))
    previous: str | None = None
    for name in files:
        text = (folder / name).read_text()
        revision = re.search(r'^revision(?:: str)? = "(\w+)"', text, re.M)
        below = re.search(r'^down_revision(?:: [^=]+)? = (?:"(\w+)"|None)', text, re.M)
        assert revision is not None
        assert below is not None
        assert (name.split("_")[0], below[1]) == (revision[1], previous)
        previous = revision[1]
    assert migrations.head(package) == previous


def test_a_package_without_migrations_cannot_start() -> None:
    assert importlib.import_module("doorbuster.gateway")
    with pytest.raises((process.StartError, FileNotFoundError)):
        migrations.head("doorbuster.gateway")
