"""Checkout's settings."""

from dataclasses import dataclass
from pathlib import Path

from doorbuster.kit.config import comma_list, setting


@dataclass(frozen=True, kw_only=True)
class CheckoutConfig:
    """Where checkout's store and peers are, and how much it takes on at once.

    ``permit_seconds``: how long a permit may stay in flight before inventory asks PostgreSQL about it; it must
    exceed the longest reserve call.
    """

    dsn: str = setting("DOORBUSTER_CHECKOUT_DSN", secret=True)
    redis_url: str = setting("DOORBUSTER_REDIS_URL", secret=True)
    kafka_bootstrap: str = setting("DOORBUSTER_KAFKA_BOOTSTRAP")
    inventory_urls: tuple[str, ...] = setting("DOORBUSTER_INVENTORY_URLS", comma_list)
    user_urls: tuple[str, ...] = setting("DOORBUSTER_USER_URLS", comma_list)
    service_key_file: Path = setting("DOORBUSTER_SERVICE_KEY_FILE", Path)
    service_keys_dir: Path = setting("DOORBUSTER_SERVICE_KEYS_DIR", Path)
    most_per_product: int = setting("DOORBUSTER_CHECKOUT_MOST_PER_PRODUCT", int, default=2_000)
    most_direct: int = setting("DOORBUSTER_CHECKOUT_MOST_DIRECT", int, default=512)
    permit_seconds: float = setting("DOORBUSTER_PERMIT_SECONDS", float, default=10.0)
