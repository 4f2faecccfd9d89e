"""MariaDB, the server behind every MySQL URL: a data folder of our own, one database a service."""

import os
import shutil
from pathlib import Path

from typing_extensions import override

from devstack import probe
from devstack.accounts import server_user
from devstack.part import Part, Site
from devstack.process import Launch
from devstack.state import write_atomically

INITIALISE_SECONDS = 120.0
SERVICES = ("user", "order")
ADMIN = "doorbuster_admin"
_GREETING_PROTOCOL = b"\x0a"  # fifth byte of the first packet: handshake version 10


class MariadbServer(Part):
    name = "mariadb"
    port_keys = ("mariadb",)
    ready_within_seconds = 180.0

    @override
    def packages(self) -> tuple[str, ...]:
        present = _find("mariadbd") and _find("mariadb-install-db")
        return () if present else ("mariadb-server",)

    @override
    def prepare(self, site: Site) -> None:
        data = self._data(site)
        if not (data / "mysql").exists():
            self._initialise(site, data)
        self._write_start_script(site, data)

    def _data(self, site: Site) -> Path:
        return site.layout.data(self.name, server_user("mysql")) / "data"

    def _initialise(self, site: Site, data: Path) -> None:
        """Make the system tables beside their place and move them there whole."""
        scratch = data.with_name("data.new")
        shutil.rmtree(scratch, ignore_errors=True)
        argv = (
            *(str(_find("mariadb-install-db")), "--no-defaults", f"--datadir={scratch}"),
            *("--auth-root-authentication-method=normal", "--skip-test-db"),
            *("--skip-name-resolve", f"--tmpdir={self._scratch(data)}"),
        )
        launch = Launch(argv, site.environment, user=server_user("mysql"))
        site.run(self.name, launch, within_seconds=INITIALISE_SECONDS)
        scratch.rename(data)

    def _scratch(self, data: Path) -> Path:
        """A folder for temporary tables: a server that starts clears those of others out of a shared one."""
        folder = data.with_name("tmp")
        folder.mkdir(exist_ok=True)
        owner = data.parent.stat()
        os.chown(folder, owner.st_uid, owner.st_gid)
        return folder

    def _write_start_script(self, site: Site, data: Path) -> None:
        """SQL that the server runs before it takes connections: users, databases, rights."""
        users = {ADMIN: site.secret("mariadb")}
        users |= {service: site.secret(f"{service}-database") for service in SERVICES}
        lines = [f"ALTER USER 'root'@'localhost' IDENTIFIED BY '{site.secret('mariadb')}';"]
        for user, password in users.items():
            lines.append(f"CREATE USER IF NOT EXISTS '{user}'@'%' IDENTIFIED BY '{password}';")
            lines.append(f"ALTER USER '{user}'@'%' IDENTIFIED BY '{password}';")
        lines.append(f"GRANT ALL ON *.* TO '{ADMIN}'@'%' WITH GRANT OPTION;")
        for service in SERVICES:
            lines.append(f"CREATE DATABASE IF NOT EXISTS `{service}`;")
            lines.append(f"GRANT ALL ON `{service}`.* TO '{service}'@'%';")
        script = self._start_script(data)
        write_atomically(script, "\n".join(lines) + "\n", mode=0o600)
        owner = data.stat()
        os.chown(script, owner.st_uid, owner.st_gid)

    def _start_script(self, data: Path) -> Path:
        return data.with_name("start.sql")

    @override
    def launch(self, site: Site) -> Launch:
        data = self._data(site)
        argv = (
            str(_find("mariadbd")),
            "--no-defaults",
            f"--datadir={data}",
            f"--init-file={self._start_script(data)}",
            f"--tmpdir={self._scratch(data)}",
            f"--port={site.port('mariadb')}",
            f"--bind-address={','.join(site.addresses)}",
            "--socket=server.sock",  # relative to the data folder: long paths do not fit
            f"--pid-file={data.with_name('server.pid')}",
            "--skip-name-resolve",
            "--character-set-server=utf8mb4",
            "--collation-server=utf8mb4_unicode_ci",
            "--default-time-zone=+00:00",
            "--max-connections=200",
            "--innodb-buffer-pool-size=64M",
            "--innodb-flush-log-at-trx-commit=1",
            "--performance-schema=OFF",
        )
        return Launch(argv, site.environment, user=server_user("mysql"))

    @override
    def ready(self, site: Site) -> str | None:
        return probe.greets(site.port("mariadb"), _GREETING_PROTOCOL, at=4)

    @override
    def exports(self, site: Site) -> dict[str, str]:
        server = f"{site.host}:{site.port('mariadb')}"
        dsns = {
            f"DOORBUSTER_{service.upper()}_DSN": (
                f"mysql://{service}:{site.secret(f'{service}-database')}@{server}/{service}"
            )
            for service in SERVICES
        }
        admin = f"mysql://{ADMIN}:{site.secret('mariadb')}@{server}/mysql"
        return {**dsns, "DOORBUSTER_MYSQL_ADMIN_DSN": admin}


def _find(name: str) -> str | None:
    return shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
