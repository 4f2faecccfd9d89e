"""The cart service's settings, read once at its start."""

from dataclasses import dataclass
from pathlib import Path

from doorbuster.kit.config import comma_list, setting


@dataclass(frozen=True, kw_only=True)
class CartConfig:
    """Where its store, its bus, the cache of availability and its neighbours are."""

    dsn: str = setting("DOORBUSTER_CART_DSN", secret=True)
    kafka_bootstrap: str = setting("DOORBUSTER_KAFKA_BOOTSTRAP")
    redis_url: str = setting("DOORBUSTER_REDIS_URL", secret=True)
    product_urls: tuple[str, ...] = setting("DOORBUSTER_PRODUCT_URLS", comma_list)
    inventory_urls: tuple[str, ...] = setting("DOORBUSTER_INVENTORY_URLS", comma_list)
    user_urls: tuple[str, ...] = setting("DOORBUSTER_USER_URLS", comma_list)
    key_file: Path = setting("DOORBUSTER_SERVICE_KEY_FILE", Path)
    keys_dir: Path = setting("DOORBUSTER_SERVICE_KEYS_DIR", Path)
