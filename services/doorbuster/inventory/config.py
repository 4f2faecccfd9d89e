"""Settings of the inventory service."""

from dataclasses import dataclass
from pathlib import Path

from doorbuster.kit.config import comma_list, setting


@dataclass(frozen=True, kw_only=True)
class Config:
    """Read once at the start.

    ``pin_sweep_seconds`` must exceed the longest
    conversation of payment with its provider; ``hold_seconds`` is how long an order of no sale is held.
    """

    dsn: str = setting("DOORBUSTER_INVENTORY_DSN", secret=True)
    redis_url: str = setting("DOORBUSTER_REDIS_URL", secret=True)
    kafka_bootstrap: str = setting("DOORBUSTER_KAFKA_BOOTSTRAP")
    payment_urls: tuple[str, ...] = setting("DOORBUSTER_PAYMENT_URLS", comma_list)
    user_urls: tuple[str, ...] = setting("DOORBUSTER_USER_URLS", comma_list)
    service_key_file: Path = setting("DOORBUSTER_SERVICE_KEY_FILE", Path)
    service_keys_dir: Path = setting("DOORBUSTER_SERVICE_KEYS_DIR", Path)
    pin_sweep_seconds: float = setting("DOORBUSTER_PIN_SWEEP_SECONDS", float, default=10.0)
    hold_seconds: int = setting("DOORBUSTER_HOLD_SECONDS", int, default=120)
