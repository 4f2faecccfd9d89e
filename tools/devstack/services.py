"""The services: their copies, ports, environment, migrations and readiness.

Each process gets the addresses of all, but only its own key, its own database and the secrets
that are its business.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from typing_extensions import override

from . import probe
from .errors import StackError
from .part import LOOPBACK, Part, Site
from .process import Launch
from .servers import cdn, connect, elasticsearch, mongo, postgres, s3

ADMIN_EMAIL = "admin@doorbuster.example"
MAIL_FROM = "shop@doorbuster.example"
SMS_FROM = "+15005550006"  # the sender that the provider keeps for tests
COMMAND_SECONDS = 90.0
# Settings of the caller that are handed on: how to behave, never where anything is.
TUNING = re.compile(r"DOORBUSTER_(LOG_LEVEL|FAILPOINT\w*|RATE_\w+|CHECKOUT_MOST_\w+|\w+_SECONDS)")
POSTGRES, MYSQL = "postgres", "mariadb"
S3_SETTINGS = tuple(
    f"DOORBUSTER_S3_{name}" for name in ("URL", "BUCKET", "REGION", "ACCESS_KEY", "SECRET_KEY")
)
SMS_SETTINGS = tuple(f"DOORBUSTER_SMS_{name}" for name in ("URL", "ACCOUNT", "TOKEN", "FROM"))


@dataclass(frozen=True)
class Service:
    """What sets one service apart: its store, its servers, its copies, what else it is told.

    ``extras`` are variables that no other process gets.
    """

    name: str
    requires: tuple[str, ...]
    store: str | None = None
    copies: int = 1
    extras: tuple[str, ...] = ()

    @property
    def process_names(self) -> tuple[str, ...]:
        if self.copies == 1:
            return (self.name,)
        return tuple(f"{self.name}-{number}" for number in range(self.copies))


SERVICES = (
    Service("user", ("mariadb",), MYSQL, extras=("DOORBUSTER_SIGNING_KEY_SECRET",)),
    Service(
        "product",
        ("mongo", "redis", "kafka", "s3", "cdn"),
        extras=("DOORBUSTER_MONGO_URL", *S3_SETTINGS),
    ),
    Service(
        "search",
        ("elasticsearch", "redis", "kafka"),
        extras=("DOORBUSTER_ELASTICSEARCH_URL",),
    ),
    Service("cart", ("postgres", "redis", "kafka"), POSTGRES),
    Service("inventory", ("postgres", "redis", "kafka"), POSTGRES),
    Service("checkout", ("postgres", "redis", "kafka"), POSTGRES, copies=2),
    Service(
        "payment",
        ("postgres", "kafka", "psp"),
        POSTGRES,
        extras=(
            *("DOORBUSTER_PSP_KEY", "DOORBUSTER_PSP_WEBHOOK_SECRET"),
            "DOORBUSTER_ALLOW_RAW_CARDS",
        ),
    ),
    Service("order", ("mariadb", "kafka"), MYSQL),
    Service(
        "notification",
        ("postgres", "kafka", "smtp"),
        POSTGRES,
        extras=("DOORBUSTER_SMTP_URL", "DOORBUSTER_MAIL_FROM", *SMS_SETTINGS),
    ),
    Service("gateway", ("redis",), copies=2, extras=("DOORBUSTER_TRUSTED_PROXIES",)),
)


def service_parts() -> tuple[Part, ...]:
    """Tasks and processes of the platform, in the order in which ``status`` shows them."""
    tasks = [SchemasTask(store) for store in (POSTGRES, MYSQL)]
    processes = [
        ServiceProcess(service, name) for service in SERVICES for name in service.process_names
    ]
    return (TopicsTask(), *tasks, *processes)


class Task(Part):
    """A step without a process of its own: a command that is run to its end, safe to repeat."""

    is_process = False

    @override
    def launch(self, site: Site) -> Launch:
        raise AssertionError(f"{self.name} has no process")

    @override
    def ready(self, site: Site) -> str | None:
        return None


class TopicsTask(Task):
    """Makes the topics that are there before any sale."""

    name = "topics"
    requires = ("kafka",)

    @override
    def settle(self, site: Site) -> None:
        launch = Launch(doorbuster_command("topics"), shared_environment(site))
        site.run(self.name, launch, within_seconds=COMMAND_SECONDS)


class SchemasTask(Task):
    """Brings the schemas of all services of one server up to date, in a single process."""

    def __init__(self, store: str) -> None:
        self._services = [service for service in SERVICES if service.store == store]
        self.name = schemas_name(store)
        self.requires = (store,)

    @override
    def settle(self, site: Site) -> None:
        environment = dict(site.environment)
        for service in self._services:
            environment |= _dsn(site, service)
        argv = doorbuster_command("migrate", *(service.name for service in self._services))
        site.run(self.name, Launch(argv, environment), within_seconds=COMMAND_SECONDS)


def schemas_name(store: str) -> str:
    """The task that migrates what lives on one server."""
    return f"{store}-schemas"


class ServiceProcess(Part):
    """One copy of one service."""

    ready_within_seconds = 180.0
    stop_within_seconds = 12.0

    def __init__(self, service: Service, name: str) -> None:
        self.name = name
        self._service = service
        schema = (schemas_name(service.store),) if service.store is not None else ()
        topics = ("topics",) if "kafka" in service.requires else ()
        self.requires = (*service.requires, *schema, *topics)
        self.port_keys = (name, f"{name}.admin")

    @override
    def launch(self, site: Site) -> Launch:
        environment = {
            **service_environment(site, self._service),
            "DOORBUSTER_HOST": LOOPBACK,
            "DOORBUSTER_PORT": str(site.port(self.name)),
            "DOORBUSTER_ADMIN_PORT": str(site.port(f"{self.name}.admin")),
        }
        return Launch(doorbuster_command(self._service.name), environment)

    @override
    def ready(self, site: Site) -> str | None:
        return readyz(site, self.name)

    @override
    def settle(self, site: Site) -> None:
        if self._service.name == "user":
            _make_first_admin(site, self._service)

    @override
    def exports(self, site: Site) -> dict[str, str]:
        values = urls_of(site, self._service)
        if self._service.name == "user":
            values |= {
                "DOORBUSTER_ADMIN_EMAIL": ADMIN_EMAIL,
                "DOORBUSTER_ADMIN_PASSWORD": site.secret("first-admin"),
            }
        return values


# --- what they are told ---------------------------------------------------------------------------


def urls_of(site: Site, service: Service) -> dict[str, str]:
    """The API and probe addresses of all copies of a service."""
    prefix = f"DOORBUSTER_{service.name.upper()}"
    names = service.process_names
    return {
        f"{prefix}_URLS": _comma(f"http://127.0.0.1:{site.port(name)}" for name in names),
        f"{prefix}_ADMIN_URLS": _comma(
            f"http://127.0.0.1:{site.port(f'{name}.admin')}" for name in names
        ),
    }


def shared_environment(site: Site) -> dict[str, str]:
    """What every process of the platform may know: addresses, no database, no secret but Redis'."""
    values = dict(site.environment)
    for service in SERVICES:
        values |= urls_of(site, service)
    tuning = {name: value for name, value in os.environ.items() if TUNING.fullmatch(name)}
    return values | {
        "DOORBUSTER_REDIS_URL": (
            f"redis://:{site.secret('redis')}@127.0.0.1:{site.port('redis')}/0"
        ),
        "DOORBUSTER_KAFKA_BOOTSTRAP": f"127.0.0.1:{site.port('kafka')}",
        "DOORBUSTER_PSP_URL": f"http://127.0.0.1:{site.port('psp')}",
        "DOORBUSTER_PUBLIC_URL": f"http://127.0.0.1:{site.port('nginx')}",
        "DOORBUSTER_CDN_URL": cdn.url(site),
        "DOORBUSTER_SERVICE_KEYS_DIR": str(site.layout.keys / "public"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
        **tuning,
    }


def service_environment(site: Site, service: Service) -> dict[str, str]:
    """What one service's processes and migrations are told."""
    values = shared_environment(site) | own_key(site, service.name)
    if service.store is not None:
        values |= _dsn(site, service)
    return values | secrets(site, service.extras)


def _dsn(site: Site, service: Service) -> dict[str, str]:
    scheme = "postgresql" if service.store == POSTGRES else "mysql"
    password = site.secret(f"{service.name}-database")
    port = site.port(str(service.store))
    dsn = f"{scheme}://{service.name}:{password}@127.0.0.1:{port}/{service.name}"
    return {f"DOORBUSTER_{service.name.upper()}_DSN": dsn}


def own_key(site: Site, name: str) -> dict[str, str]:
    """Where a caller finds the key with which it signs its calls."""
    return {"DOORBUSTER_SERVICE_KEY_FILE": str(site.layout.keys / f"{name}.pem")}


def secrets(site: Site, names: Iterable[str]) -> dict[str, str]:
    """What only those are told whose business it is."""
    known = {
        "DOORBUSTER_PSP_KEY": f"sk_test_{site.secret('psp-key')}",
        "DOORBUSTER_PSP_WEBHOOK_SECRET": f"whsec_{site.secret('psp-webhook')}",
        "DOORBUSTER_SIGNING_KEY_SECRET": site.secret("signing-keys"),
        **s3.settings(site),
        "DOORBUSTER_MONGO_URL": mongo.service_url(site, "product"),
        "DOORBUSTER_ELASTICSEARCH_URL": elasticsearch.url(site),
        "DOORBUSTER_SMTP_URL": f"smtp://127.0.0.1:{site.port('smtp')}",
        "DOORBUSTER_MAIL_FROM": MAIL_FROM,
        "DOORBUSTER_SMS_URL": f"http://127.0.0.1:{site.port('sms')}",
        "DOORBUSTER_SMS_ACCOUNT": f"AC{site.secret('sms-account')}",
        "DOORBUSTER_SMS_TOKEN": site.secret("sms-token"),
        "DOORBUSTER_SMS_FROM": SMS_FROM,
        "DOORBUSTER_CONNECT_URL": connect.url(site),
        "DOORBUSTER_CDC_POSTGRES_DSN": postgres.capture_dsn(site),
        "DOORBUSTER_CDC_MONGO_URL": mongo.capture_url(site),
        "DOORBUSTER_TRUSTED_PROXIES": "127.0.0.0/8",
        "DOORBUSTER_ALLOW_RAW_CARDS": "true",  # the sandbox's test cards, nobody's real ones
    }
    return {name: known[name] for name in names}


def _comma(values: Iterable[str]) -> str:
    return ",".join(values)


# --- commands and probes --------------------------------------------------------------------------


def doorbuster_command(*arguments: str) -> tuple[str, ...]:
    """The services' own command line, from the same Python environment as this."""
    return (sys.executable, "-P", "-m", "doorbuster", *arguments)


def _make_first_admin(site: Site, service: Service) -> None:
    """Make the first account that may do everything; its password goes over standard input."""
    arguments = (
        *("user", "grant", "--create", "--password-stdin"),
        *("--email", ADMIN_EMAIL, "--role", "admin"),
    )
    try:
        done = subprocess.run(
            doorbuster_command(*arguments),
            input=site.secret("first-admin") + "\n",
            env=service_environment(site, service),
            cwd=site.layout.root,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise StackError(f"making the first admin took over {COMMAND_SECONDS:.0f} s") from error
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()[-20:]
        raise StackError("making the first admin failed", log_tail="\n".join(lines))


def readyz(site: Site, name: str) -> str | None:
    """None when the process says that it and all it needs are ready."""
    url = f"http://127.0.0.1:{site.port(f'{name}.admin')}/readyz"
    status, body = probe.http_status(url)
    return None if status == 200 else f"{status or ''} {body.strip()[:200]}".strip()
