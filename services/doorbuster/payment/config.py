"""What the payment service is told by its environment."""

from dataclasses import dataclass
from datetime import timedelta

from doorbuster.kit import config

from .domain import Limits


@dataclass(frozen=True, kw_only=True)
class PaymentConfig:
    """Settings of payment; ``recover_seconds`` must exceed the longest call that is under way.

    ``again_seconds`` is the pause before a capture, void or refund without an answer is tried again.
    """

    dsn: str = config.setting("DOORBUSTER_PAYMENT_DSN", secret=True)
    kafka_bootstrap: str = config.setting("DOORBUSTER_KAFKA_BOOTSTRAP")
    user_urls: tuple[str, ...] = config.setting("DOORBUSTER_USER_URLS", config.comma_list)
    checkout_urls: tuple[str, ...] = config.setting("DOORBUSTER_CHECKOUT_URLS", config.comma_list)
    inventory_urls: tuple[str, ...] = config.setting(
        "DOORBUSTER_INVENTORY_URLS", config.comma_list
    )
    order_urls: tuple[str, ...] = config.setting("DOORBUSTER_ORDER_URLS", config.comma_list)
    psp_url: str = config.setting("DOORBUSTER_PSP_URL")
    psp_key: str = config.setting("DOORBUSTER_PSP_KEY", secret=True)
    psp_webhook_secret: str = config.setting(
        "DOORBUSTER_PSP_WEBHOOK_SECRET", default="", secret=True
    )
    allow_raw_cards: bool = config.setting(
        "DOORBUSTER_ALLOW_RAW_CARDS", config.boolean, default=False
    )
    service_key_file: str = config.setting("DOORBUSTER_SERVICE_KEY_FILE")
    service_keys_dir: str = config.setting("DOORBUSTER_SERVICE_KEYS_DIR")
    answer_seconds: float = config.setting("DOORBUSTER_PAYMENT_ANSWER_SECONDS", float, default=10)
    recover_seconds: float = config.setting(
        "DOORBUSTER_PAYMENT_RECOVER_SECONDS", float, default=15
    )
    order_known_seconds: float = config.setting(
        "DOORBUSTER_PAYMENT_ORDER_KNOWN_SECONDS", float, default=10
    )
    again_seconds: float = config.setting("DOORBUSTER_PAYMENT_AGAIN_SECONDS", float, default=5)
    stripe_log: str = config.setting("STRIPE_LOG", default="")

    def require_sane(self) -> None:
        """Raise ConfigError for settings that must not be."""
        if self.stripe_log:
            raise config.ConfigError("STRIPE_LOG would write card numbers to the log: unset it")
        if self.again_seconds <= 0:
            raise config.ConfigError("DOORBUSTER_PAYMENT_AGAIN_SECONDS must be positive")
        if self.recover_seconds <= self.answer_seconds:
            raise config.ConfigError(
                "DOORBUSTER_PAYMENT_RECOVER_SECONDS must exceed DOORBUSTER_PAYMENT_ANSWER_SECONDS"
            )

    def limits(self) -> Limits:
        """Return how long things may take."""
        return Limits(
            answer_within=timedelta(seconds=self.answer_seconds),
            take_over_after=timedelta(seconds=self.answer_seconds / 2),
            recover_after=timedelta(seconds=self.recover_seconds),
            capture_again_after=timedelta(seconds=self.again_seconds),
            order_known_after=timedelta(seconds=self.order_known_seconds),
        )
