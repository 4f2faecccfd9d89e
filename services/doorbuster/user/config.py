"""Settings of the user service."""

from dataclasses import dataclass
from pathlib import Path

from doorbuster.kit.config import setting


@dataclass(frozen=True, kw_only=True)
class Config:
    """Read once at the start."""

    dsn: str = setting("DOORBUSTER_USER_DSN", secret=True)
    signing_key_secret: str = setting("DOORBUSTER_SIGNING_KEY_SECRET", secret=True)
    service_keys_dir: Path = setting("DOORBUSTER_SERVICE_KEYS_DIR", Path)


@dataclass(frozen=True, kw_only=True)
class GrantConfig:
    """What ``doorbuster user grant`` needs."""

    dsn: str = setting("DOORBUSTER_USER_DSN", secret=True)
