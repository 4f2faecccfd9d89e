"""PostgreSQL: a cluster of our own, one database and one role for each service that uses it."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
from typing_extensions import override

from devstack.accounts import server_user
from devstack.errors import StackError
from devstack.part import LOOPBACK, Part, Site
from devstack.process import Launch
from devstack.state import write_atomically

LOWEST_VERSION = 15
INITIALISE_SECONDS = 120.0
LEAVE_SECONDS = 15.0
SERVICES = ("inventory", "cart", "checkout", "payment", "notification")
ADMIN = "postgres"
CAPTURE = "cdc"
CAPTURED = "inventory"
SETTINGS = {
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "wal_level": "logical",
    "max_replication_slots": "20",
    "max_wal_senders": "20",
    # A reader that is away for long loses its place rather than fill the disk; it begins again then.
    "max_slot_wal_keep_size": "512MB",
    "synchronous_commit": "on",
    "max_wal_size": "1GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "password_encryption": "scram-sha-256",
}
# For psql: :'x' is a literal, :"x" a name; neither statement has an IF NOT EXISTS of its own.
OWN_DATABASE = """
SELECT format('CREATE ROLE %I LOGIN', :'name')
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \\gexec
ALTER ROLE :"name" PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER %I', :'name', :'name')
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \\gexec
REVOKE CONNECT, TEMPORARY ON DATABASE :"name" FROM PUBLIC;
"""
# Debezium reads the change stream of one database, and of its tables those that there are and will be.
CAPTURE_RIGHTS = """
SELECT format('CREATE ROLE %I LOGIN REPLICATION', :'name')
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \\gexec
ALTER ROLE :"name" PASSWORD :'password';
GRANT CONNECT ON DATABASE :"captured" TO :"name";
\\connect :"captured"
GRANT SELECT ON ALL TABLES IN SCHEMA public TO :"name";
ALTER DEFAULT PRIVILEGES FOR ROLE :"captured" IN SCHEMA public GRANT SELECT ON TABLES TO :"name";
"""


def find_binaries() -> Path | None:
    """The folder of the newest PostgreSQL that is new enough."""
    found = [
        (int(folder.parent.name), folder)
        for folder in Path("/usr/lib/postgresql").glob("*/bin")
        if re.fullmatch(r"\d+", folder.parent.name) and (folder / "initdb").exists()
    ]
    usable = [pair for pair in found if pair[0] >= LOWEST_VERSION]
    return max(usable)[1] if usable else None


class PostgresServer(Part):
    name = "postgres"
    port_keys = ("postgres",)
    ready_within_seconds = 180.0
    stop_signal = signal.SIGINT  # fast shutdown: clients are disconnected

    @override
    def packages(self) -> tuple[str, ...]:
        return () if find_binaries() else ("postgresql",)

    @override
    def prepare(self, site: Site) -> None:
        data = self._data(site)
        if not (data / "PG_VERSION").exists():
            self._initialise(site, data)
        rules = "host all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n"
        if site.addresses != ("127.0.0.1",):
            rules += "host all all 0.0.0.0/0 scram-sha-256\n"
        _write_as_owner(data / "pg_hba.conf", rules)
        _take_over(data)

    def _data(self, site: Site) -> Path:
        return site.layout.data(self.name, server_user("postgres")) / "cluster"

    def _initialise(self, site: Site, data: Path) -> None:
        """Make the cluster beside its place and move it there whole."""
        scratch = data.with_name("cluster.new")
        shutil.rmtree(scratch, ignore_errors=True)
        password_file = data.with_name("password")
        _write_as_owner(password_file, site.secret("postgres") + "\n")
        argv = (
            *(str(_binary("initdb")), "-D", str(scratch), "-U", ADMIN, "--no-sync"),
            *("--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256"),
            f"--pwfile={password_file}",
        )
        launch = Launch(argv, site.environment, user=server_user("postgres"))
        site.run(self.name, launch, within_seconds=INITIALISE_SECONDS)
        password_file.unlink()
        scratch.rename(data)

    @override
    def launch(self, site: Site) -> Launch:
        settings = {
            **SETTINGS,
            "port": str(site.port("postgres")),
            "listen_addresses": ",".join(site.addresses),
        }
        options = [text for key, value in settings.items() for text in ("-c", f"{key}={value}")]
        argv = (str(_binary("postgres")), "-D", str(self._data(site)), *options)
        return Launch(argv, site.environment, user=server_user("postgres"))

    @override
    def ready(self, site: Site) -> str | None:
        try:
            self._query(site, "SELECT 1;", within_seconds=5)
        except StackError as error:
            return error.message
        return None

    @override
    def settle(self, site: Site) -> None:
        """Make the roles and databases; safe to repeat."""
        script = [
            f"\\set name '{service}'\n"
            f"\\set password '{site.secret(f'{service}-database')}'\n{OWN_DATABASE}"
            for service in SERVICES
        ]
        script.append(
            f"\\set name '{CAPTURE}'\n\\set captured '{CAPTURED}'\n"
            f"\\set password '{site.secret('cdc-database')}'\n{CAPTURE_RIGHTS}"
        )
        self._query(site, "".join(script), within_seconds=60)

    @override
    def exports(self, site: Site) -> dict[str, str]:
        server = f"{site.host}:{site.port('postgres')}"
        dsns = {
            f"DOORBUSTER_{service.upper()}_DSN": (
                f"postgresql://{service}:{site.secret(f'{service}-database')}@{server}/{service}"
            )
            for service in SERVICES
        }
        admin = f"postgresql://{ADMIN}:{site.secret('postgres')}@{server}/postgres"
        return {
            **dsns,
            "DOORBUSTER_POSTGRES_ADMIN_DSN": admin,
            "DOORBUSTER_CDC_POSTGRES_DSN": capture_dsn(site),
        }

    def _query(self, site: Site, script: str, *, within_seconds: float) -> None:
        argv = (
            *(str(_binary("psql")), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1"),
            *("-p", str(site.port("postgres")), "-U", ADMIN, "-d", "postgres", "-o", "/dev/null"),
        )
        login = {"PGPASSWORD": site.secret("postgres"), "PGCONNECT_TIMEOUT": "3"}
        try:
            done = subprocess.run(
                argv,
                input=script,
                env={**site.environment, **login},
                capture_output=True,
                text=True,
                timeout=within_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise StackError(f"psql took longer than {within_seconds:.0f} s") from error
        if done.returncode != 0:
            raise StackError(f"psql failed: {done.stderr.strip()[-2000:]}")


def capture_dsn(site: Site) -> str:
    """Debezium's address and account: it may read what it captures."""
    account = f"{CAPTURE}:{site.secret('cdc-database')}"
    return f"postgresql://{account}@{LOOPBACK}:{site.port('postgres')}/{CAPTURED}"


def _binary(name: str) -> Path:
    folder = find_binaries()
    if folder is None:
        raise StackError("PostgreSQL is missing", hint="run `make servers`")
    return folder / name


def _write_as_owner(path: Path, text: str) -> None:
    write_atomically(path, text, mode=0o600)
    owner = path.parent.stat()
    os.chown(path, owner.st_uid, owner.st_gid)


def _take_over(data: Path) -> None:
    """Wait until nobody works in the data folder, then remove the lock of a killed server.

    PostgreSQL takes a lock for valid while its pid exists, be it a zombie or somebody else's by
    now. Its processes, orphaned backends too, all have the data folder as working directory.

    Raises:
        StackError: somebody does not leave.
    """
    deadline = time.monotonic() + LEAVE_SECONDS
    while left := _working_in(data):
        if time.monotonic() > deadline:
            raise StackError(f"process {left[0]} still works in {data}", hint=f"kill {left[0]}")
        time.sleep(0.05)
    (data / "postmaster.pid").unlink(missing_ok=True)


def _working_in(folder: Path) -> list[int]:
    wanted = str(folder.resolve())
    return [who.pid for who in psutil.process_iter(["cwd"]) if who.info["cwd"] == wanted]
