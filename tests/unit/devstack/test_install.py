"""The installer: asks for what is missing, keeps servers from starting, cleans up after itself."""

import subprocess

import pytest
from typing_extensions import override

from devstack import install
from devstack.errors import StackError
from devstack.part import Part


class Wanting(Part):
    """Lacks a package and a download until they are obtained."""

    def __init__(self, *, heals: bool) -> None:
        self.name = "wanting"
        self.heals = heals
        self.lacking = "a jar"

    @override
    def missing(self) -> str:
        return self.lacking

    @override
    def obtain(self, say) -> None:
        say("fetching a jar")
        if self.heals:
            self.lacking = ""

    @override
    def launch(self, site):
        raise NotImplementedError

    @override
    def ready(self, site):
        return None


def test_what_is_missing_is_obtained_once():
    said: list[str] = []
    part = Wanting(heals=True)
    install.install([part], said.append)
    install.install([part], said.append)
    assert said == ["fetching a jar"]


def test_what_is_still_missing_afterwards_is_an_error():
    with pytest.raises(StackError, match="still lacks a jar"):
        install.install([Wanting(heals=False)], lambda words: None)


def test_the_first_package_that_exists_is_chosen(monkeypatch):
    def fake_run(argv, **options):
        known = argv[-1] == "default-jre-headless"
        return subprocess.CompletedProcess(argv, 0 if known else 100, b"Package" if known else b"")

    monkeypatch.setattr(install.subprocess, "run", fake_run)
    assert install._available("openjdk-17-jre-headless|default-jre-headless") == (
        "default-jre-headless"
    )
    with pytest.raises(StackError, match="no Debian package"):
        install._available("a|b")


@pytest.mark.parametrize("already_there", [True, False])
def test_the_policy_file_is_there_during_the_installation_and_as_before_after(
    tmp_path, monkeypatch, already_there
):
    policy = tmp_path / "policy-rc.d"
    if already_there:
        policy.write_text("mine", encoding="ascii")
    monkeypatch.setattr(install, "POLICY", policy)
    monkeypatch.setattr(install.os, "getuid", lambda: 0)
    with install._nothing_starts_by_itself():
        text = policy.read_text(encoding="ascii")
        assert text == ("mine" if already_there else "#!/bin/sh\nexit 101\n")
    assert policy.exists() is already_there
