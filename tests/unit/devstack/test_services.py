"""What the processes are told: all addresses, their own secrets, nobody else's."""

import os

import pytest

from devstack import catalogue
from devstack.layout import PROJECT, Layout
from devstack.part import Site
from devstack.services import SERVICES, service_environment
from devstack.state import Secrets, State


@pytest.fixture
def site(tmp_path) -> Site:
    layout = Layout(tmp_path)
    layout.make()
    keys = [key for part in catalogue.all_parts().values() for key in part.port_keys]
    state = State(tmp_path / "state.json")
    state.update(ports={key: 15000 + index for index, key in enumerate(keys)})
    secrets = Secrets(tmp_path / "secret")
    secrets.ensure()
    return Site(layout, PROJECT, state, secrets, os.getuid() == 0, {"PATH": "/bin"})


def named(name):
    return next(service for service in SERVICES if service.name == name)


def test_both_copies_of_checkout_are_listed_in_its_address(site):
    env = service_environment(site, named("gateway"))
    first, second = site.port("checkout-0"), site.port("checkout-1")
    expected = f"http://127.0.0.1:{first},http://127.0.0.1:{second}"
    assert env["DOORBUSTER_CHECKOUT_URLS"] == expected


def test_a_service_gets_its_own_database_and_no_other(site):
    for service in SERVICES:
        env = service_environment(site, service)
        dsns = [name for name in env if name.endswith("_DSN")]
        own = [f"DOORBUSTER_{service.name.upper()}_DSN"] if service.store else []
        assert dsns == own


def test_the_dsn_that_a_service_gets_is_the_one_that_env_prints(site):
    parts = catalogue.all_parts()
    printed = parts["postgres"].exports(site) | parts["mariadb"].exports(site)
    for service in SERVICES:
        if service.store is not None:
            name = f"DOORBUSTER_{service.name.upper()}_DSN"
            assert service_environment(site, service)[name] == printed[name]


def test_only_payment_knows_the_provider_key_and_only_user_the_signing_secret(site):
    knowing: dict[str, list[str]] = {}
    for service in SERVICES:
        for variable in service_environment(site, service):
            knowing.setdefault(variable, []).append(service.name)
    assert knowing["DOORBUSTER_PSP_KEY"] == ["payment"]
    assert knowing["DOORBUSTER_SIGNING_KEY_SECRET"] == ["user"]
    assert knowing["DOORBUSTER_SMTP_URL"] == ["notification"]


def test_each_process_has_the_key_of_its_own_service(site):
    paths = {s.name: service_environment(site, s)["DOORBUSTER_SERVICE_KEY_FILE"] for s in SERVICES}
    assert all(path.endswith(f"/{name}.pem") for name, path in paths.items())
