"""The search service's settings, read once at its start."""

from dataclasses import dataclass
from pathlib import Path

from doorbuster.kit import config


@dataclass(frozen=True, kw_only=True)
class ReindexConfig:
    """Where the index and the catalogue are; ``replicas`` are copies of each shard."""

    elasticsearch_url: str = config.setting("DOORBUSTER_ELASTICSEARCH_URL", secret=True)
    product_urls: tuple[str, ...] = config.setting("DOORBUSTER_PRODUCT_URLS", config.comma_list)
    key_file: Path = config.setting("DOORBUSTER_SERVICE_KEY_FILE", Path)
    replicas: int = config.setting("DOORBUSTER_SEARCH_REPLICAS", int, default=0)


@dataclass(frozen=True, kw_only=True)
class SearchConfig(ReindexConfig):
    """And where changes, live stock, sales and pictures come from."""

    kafka_bootstrap: str = config.setting("DOORBUSTER_KAFKA_BOOTSTRAP")
    redis_url: str = config.setting("DOORBUSTER_REDIS_URL", secret=True)
    inventory_urls: tuple[str, ...] = config.setting(
        "DOORBUSTER_INVENTORY_URLS", config.comma_list
    )
    cdn_url: str = config.setting("DOORBUSTER_CDN_URL")
    # After this the index is taken for away, and answers are degraded.
    timeout_seconds: float = config.setting(
        "DOORBUSTER_SEARCH_TIMEOUT_SECONDS", float, default=2.0
    )
