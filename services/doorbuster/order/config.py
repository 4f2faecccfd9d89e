"""The order service's settings, read once at its start."""

from dataclasses import dataclass
from pathlib import Path

from doorbuster.kit import config


@dataclass(frozen=True, kw_only=True)
class OrderConfig:
    """Where its store, its bus and its neighbours are, and which keys it signs and checks with."""

    dsn: str = config.setting("DOORBUSTER_ORDER_DSN", secret=True)
    kafka_bootstrap: str = config.setting("DOORBUSTER_KAFKA_BOOTSTRAP")
    user_urls: tuple[str, ...] = config.setting("DOORBUSTER_USER_URLS", config.comma_list)
    checkout_urls: tuple[str, ...] = config.setting("DOORBUSTER_CHECKOUT_URLS", config.comma_list)
    inventory_urls: tuple[str, ...] = config.setting(
        "DOORBUSTER_INVENTORY_URLS", config.comma_list
    )
    key_file: Path = config.setting("DOORBUSTER_SERVICE_KEY_FILE", Path)
    keys_dir: Path = config.setting("DOORBUSTER_SERVICE_KEYS_DIR", Path)
