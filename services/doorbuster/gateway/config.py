"""Settings of the gateway."""

import ipaddress
from dataclasses import dataclass

from doorbuster.kit.config import comma_list, setting

from .domain import Network, Rate


def rate(raw: str) -> Rate:
    """Parse ``100/500``: so many requests a second, so many at once."""
    per_second, _, burst = raw.partition("/")
    return Rate(per_second=float(per_second), burst=int(burst))


def networks(raw: str) -> tuple[Network, ...]:
    """Parse a comma list of CIDR blocks."""
    return tuple(ipaddress.ip_network(part) for part in comma_list(raw))


def addresses(raw: str) -> tuple[str, ...]:
    """Parse a comma list of ``http://host:port`` or ``dns+http://name:port``."""
    urls = comma_list(raw)
    if not all(url.removeprefix("dns+").startswith("http://") for url in urls):
        raise ValueError("the gateway speaks plain HTTP to the services")
    return urls


@dataclass(frozen=True, kw_only=True)
class Config:
    """Read once at the start; a service without URLs has no routes."""

    user_urls: tuple[str, ...] = setting("DOORBUSTER_USER_URLS", addresses)
    checkout_urls: tuple[str, ...] = setting("DOORBUSTER_CHECKOUT_URLS", addresses)
    payment_urls: tuple[str, ...] = setting("DOORBUSTER_PAYMENT_URLS", addresses)
    order_urls: tuple[str, ...] = setting("DOORBUSTER_ORDER_URLS", addresses)
    product_urls: tuple[str, ...] = setting("DOORBUSTER_PRODUCT_URLS", addresses, ())
    search_urls: tuple[str, ...] = setting("DOORBUSTER_SEARCH_URLS", addresses, ())
    cart_urls: tuple[str, ...] = setting("DOORBUSTER_CART_URLS", addresses, ())
    inventory_urls: tuple[str, ...] = setting("DOORBUSTER_INVENTORY_URLS", addresses, ())
    notification_urls: tuple[str, ...] = setting("DOORBUSTER_NOTIFICATION_URLS", addresses, ())
    redis_url: str = setting("DOORBUSTER_REDIS_URL", secret=True)
    trusted_proxies: tuple[Network, ...] = setting("DOORBUSTER_TRUSTED_PROXIES", networks, ())
    # An address may be a whole office or a mobile carrier's NAT: generous. A user is one person.
    address_rate: Rate = setting("DOORBUSTER_RATE_ADDRESS", rate, Rate(per_second=100, burst=500))
    user_rate: Rate = setting("DOORBUSTER_RATE_USER", rate, Rate(per_second=10, burst=40))
    sign_up_rate: Rate = setting("DOORBUSTER_RATE_SIGN_UP", rate, Rate(per_second=1, burst=30))
    log_in_rate: Rate = setting("DOORBUSTER_RATE_LOG_IN", rate, Rate(per_second=2, burst=60))

    def urls(self) -> dict[str, tuple[str, ...]]:
        """Return the addresses of each service that has any."""
        named = {
            "user": self.user_urls,
            "checkout": self.checkout_urls,
            "payment": self.payment_urls,
            "order": self.order_urls,
            "product": self.product_urls,
            "search": self.search_urls,
            "cart": self.cart_urls,
            "inventory": self.inventory_urls,
            "notification": self.notification_urls,
        }
        return {name: urls for name, urls in named.items() if urls}
