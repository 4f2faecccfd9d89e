"""The processes around the services: sandboxes of providers, the watcher of change data capture, the operator."""

import sys
from pathlib import Path

from typing_extensions import override

from .part import LOOPBACK, Part, Site
from .process import Launch
from .servers.apiserver import OPERATOR_ACCOUNT, operator_config
from .services import (
    SMS_SETTINGS,
    Task,
    doorbuster_command,
    own_key,
    readyz,
    secrets,
    shared_environment,
)

CAPTURE_SETTINGS = (
    *("DOORBUSTER_CONNECT_URL", "DOORBUSTER_CDC_POSTGRES_DSN", "DOORBUSTER_CDC_MONGO_URL"),
)
FAKETIME_LIBRARY = "*/faketime/libfaketimeMT.so.1"  # below the machine's architecture
REGISTER_SECONDS = 300.0  # above the patience of the command itself, which waits until both run
PSP_SETTINGS = ("DOORBUSTER_PSP_KEY", "DOORBUSTER_PSP_WEBHOOK_SECRET")


def surrounding_parts() -> tuple[Part, ...]:
    """In the order in which ``status`` shows them."""
    return (
        *(PspProcess(), SmsProcess(), ConnectorsTask(), CaptureProcess(), OperatorProcess()),
        FaketimeTask(),
    )


class PspProcess(Part):
    """The sandbox of the payment provider."""

    name = "psp"
    port_keys = ("psp", "psp.admin")

    @override
    def launch(self, site: Site) -> Launch:
        environment = {
            **shared_environment(site),
            **secrets(site, PSP_SETTINGS),
            **_listening(site, self.name),
            "DOORBUSTER_PSP_STATE": str(site.layout.data(self.name, None) / "ledger.sqlite"),
            "DOORBUSTER_PSP_WEBHOOK_URL": (
                f"http://127.0.0.1:{site.port('payment')}/v1/webhooks/psp"
            ),
        }
        return Launch(doorbuster_command("psp"), environment)

    @override
    def ready(self, site: Site) -> str | None:
        return readyz(site, self.name)

    @override
    def exports(self, site: Site) -> dict[str, str]:
        url = f"http://127.0.0.1:{site.port('psp')}"
        return {
            "DOORBUSTER_PSP_URL": url,
            "DOORBUSTER_PSP_ADMIN_URL": f"{url}/admin",
            **secrets(site, PSP_SETTINGS),
        }


class SmsProcess(Part):
    """The sandbox of the SMS provider."""

    name = "sms"
    port_keys = ("sms", "sms.admin")

    @override
    def launch(self, site: Site) -> Launch:
        environment = {
            **shared_environment(site),
            **secrets(site, ("DOORBUSTER_SMS_ACCOUNT", "DOORBUSTER_SMS_TOKEN")),
            **_listening(site, self.name),
            "DOORBUSTER_SMS_STATE": str(site.layout.data(self.name, None) / "messages.sqlite"),
        }
        return Launch(doorbuster_command("sms"), environment)

    @override
    def ready(self, site: Site) -> str | None:
        return readyz(site, self.name)

    @override
    def exports(self, site: Site) -> dict[str, str]:
        return {
            "DOORBUSTER_SMS_ADMIN_URL": f"http://127.0.0.1:{site.port('sms')}/admin",
            **secrets(site, SMS_SETTINGS),
        }


class ConnectorsTask(Task):
    """Makes Debezium's connectors, or brings them up to date."""

    name = "connectors"
    requires = ("connect", "postgres-schemas", "mongo")

    @override
    def settle(self, site: Site) -> None:
        environment = {**shared_environment(site), **secrets(site, CAPTURE_SETTINGS)}
        launch = Launch(doorbuster_command("cdc", "register"), environment)
        site.run(self.name, launch, within_seconds=REGISTER_SECONDS)


class CaptureProcess(Part):
    """The watcher that repairs the connectors and a lost replication slot."""

    name = "cdc"
    requires = ("connectors",)
    port_keys = ("cdc", "cdc.admin")
    stop_within_seconds = 12.0

    @override
    def launch(self, site: Site) -> Launch:
        environment = {
            **shared_environment(site),
            **secrets(site, CAPTURE_SETTINGS),
            **_listening(site, self.name),
        }
        return Launch(doorbuster_command("cdc", "watch"), environment)

    @override
    def ready(self, site: Site) -> str | None:
        return readyz(site, self.name)

    @override
    def exports(self, site: Site) -> dict[str, str]:
        return {"DOORBUSTER_CDC_ADMIN_URLS": f"http://127.0.0.1:{site.port('cdc.admin')}"}


class OperatorProcess(Part):
    """The operator, with the rights of its own service account."""

    name = "operator"
    requires = ("apiserver", "kafka", "inventory")
    port_keys = ("operator.admin",)
    stop_within_seconds = 12.0

    @override
    def launch(self, site: Site) -> Launch:
        environment = {
            **shared_environment(site),
            **own_key(site, "operator"),
            "KUBECONFIG": str(operator_config(site)),
            "DOORBUSTER_ADMIN_PORT": str(site.port("operator.admin")),
            "DOORBUSTER_OPERATOR_NAMESPACE": "default",
            "DOORBUSTER_OPERATOR_IDENTITY": f"{OPERATOR_ACCOUNT}-devstack",
        }
        return Launch((sys.executable, "-P", "-m", "doorbuster_operator"), environment)

    @override
    def ready(self, site: Site) -> str | None:
        return readyz(site, self.name)

    @override
    def exports(self, site: Site) -> dict[str, str]:
        admin = f"http://127.0.0.1:{site.port('operator.admin')}"
        return {"DOORBUSTER_OPERATOR_ADMIN_URLS": admin}


class FaketimeTask(Task):
    """The library that gives a process another wall clock (LD_PRELOAD), for tests of clocks that are wrong."""

    name = "faketime"
    only_when_named = True

    @override
    def packages(self) -> tuple[str, ...]:
        return () if _faketime() is not None else ("libfaketime",)

    @override
    def exports(self, site: Site) -> dict[str, str]:
        return {"DOORBUSTER_FAKETIME_LIBRARY": str(_faketime() or "")}


def _faketime() -> Path | None:
    return next(iter(sorted(Path("/usr/lib").glob(FAKETIME_LIBRARY))), None)


def _listening(site: Site, name: str) -> dict[str, str]:
    return {
        "DOORBUSTER_HOST": LOOPBACK,
        "DOORBUSTER_PORT": str(site.port(name)),
        "DOORBUSTER_ADMIN_PORT": str(site.port(f"{name}.admin")),
    }
