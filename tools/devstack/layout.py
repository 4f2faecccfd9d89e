"""Where a stack keeps its things: the state folder, the data folders, the logs, the shared cache."""

import contextlib
import hashlib
import os
import pwd
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .errors import StackError

PROJECT = Path(__file__).resolve().parents[2]


def default_root() -> Path:
    """The state folder of the command line: ``$DOORBUSTER_VAR/devstack``, else ``var/devstack``."""
    var = os.environ.get("DOORBUSTER_VAR")
    return (Path(var) if var else PROJECT / "var") / "devstack"


def cache_root() -> Path:
    """What is downloaded or built once for a user: jars, the Kubernetes binary."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "doorbuster"


def readable_by(user: str | None, folder: Path) -> Path:
    """A folder of the cache as ``user`` can reach it: itself, else a copy that is made once.

    A server that refuses root runs as somebody who may not look into root's home.
    """
    if user is None or _can_traverse(folder, user):
        return folder
    base = Path("/var/tmp") / f"doorbuster-cache-{os.getuid()}"
    _claim(base)
    copy = base / folder.name
    if not copy.exists():
        with tempfile.TemporaryDirectory(dir=base) as scratch:
            shutil.copytree(folder, Path(scratch) / folder.name)
            with contextlib.suppress(OSError):  # another stack was quicker
                (Path(scratch) / folder.name).rename(copy)
    return copy


@dataclass(frozen=True)
class Layout:
    """The folders below one stack's root; ``make`` creates them."""

    root: Path

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def etc(self) -> Path:
        return self.root / "etc"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    @property
    def mails(self) -> Path:
        return self.root / "mails"

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def run_file(self, name: str) -> Path:
        return self.run / f"{name}.proc"

    def make(self) -> None:
        """Create every folder; private ones are 0700."""
        for folder in (self.root, self.run, self.logs, self.bin, self.mails):
            folder.mkdir(parents=True, exist_ok=True)
        for private in (self.etc, self.keys):
            private.mkdir(exist_ok=True)
            private.chmod(0o700)

    @property
    def fallback(self) -> Path:
        """A place that any user can reach, for data that root may not own (PostgreSQL)."""
        digest = hashlib.sha256(str(self.root.resolve()).encode()).hexdigest()[:12]
        return Path("/var/tmp") / f"doorbuster-{digest}"

    def data(self, name: str, user: str | None) -> Path:
        """The parent folder of a server's data, reachable by ``user`` (None: whoever runs this)."""
        if user is None or _can_traverse(self.root, user):
            base = self.root / "data"
        else:
            base = self.fallback
            _claim(base)
        folder = base / name
        folder.mkdir(parents=True, exist_ok=True)
        if user is not None:
            account = pwd.getpwnam(user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        folder.chmod(0o700)
        return folder


def _can_traverse(path: Path, user: str) -> bool:
    """Whether ``user`` may step through every folder down to ``path``."""
    account = pwd.getpwnam(user)
    groups = set(os.getgrouplist(user, account.pw_gid))
    resolved = path.resolve()
    for folder in (resolved, *resolved.parents):
        info = folder.stat()
        if info.st_uid == account.pw_uid:
            allowed = info.st_mode & stat.S_IXUSR
        elif info.st_gid in groups:
            allowed = info.st_mode & stat.S_IXGRP
        else:
            allowed = info.st_mode & stat.S_IXOTH
        if not allowed:
            return False
    return True


def _claim(folder: Path) -> None:
    """Make a folder in a place that everybody can write to, refusing one that is not ours."""
    folder.mkdir(mode=0o755, exist_ok=True)
    info = folder.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o022:
        raise StackError(f"{folder} belongs to somebody else; remove it or set DOORBUSTER_VAR")
    folder.chmod(0o755)
