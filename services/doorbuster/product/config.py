"""The product service's settings, read once at its start."""

from dataclasses import dataclass
from pathlib import Path

from doorbuster.kit.config import comma_list, setting


@dataclass(frozen=True, kw_only=True)
class ProductConfig:
    """Where its stores, its bus and its neighbours are, and where the public reads pictures."""

    mongo_url: str = setting("DOORBUSTER_MONGO_URL", secret=True)
    redis_url: str = setting("DOORBUSTER_REDIS_URL", secret=True)
    kafka_bootstrap: str = setting("DOORBUSTER_KAFKA_BOOTSTRAP")
    s3_url: str = setting("DOORBUSTER_S3_URL")
    s3_bucket: str = setting("DOORBUSTER_S3_BUCKET")
    s3_access_key: str = setting("DOORBUSTER_S3_ACCESS_KEY")
    s3_secret_key: str = setting("DOORBUSTER_S3_SECRET_KEY", secret=True)
    s3_region: str = setting("DOORBUSTER_S3_REGION", default="us-east-1")
    cdn_url: str = setting("DOORBUSTER_CDN_URL")
    inventory_urls: tuple[str, ...] = setting("DOORBUSTER_INVENTORY_URLS", comma_list)
    user_urls: tuple[str, ...] = setting("DOORBUSTER_USER_URLS", comma_list)
    key_file: Path = setting("DOORBUSTER_SERVICE_KEY_FILE", Path)
    keys_dir: Path = setting("DOORBUSTER_SERVICE_KEYS_DIR", Path)
