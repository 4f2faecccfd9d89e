"""What the door decides: which path is public and whose it is, who the client is, what he may ask how often."""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from doorbuster.contracts import surface

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Extra = Literal["sign_up", "log_in"]

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
MAX_FORWARDED_HOPS = 20
MAX_FORWARDED_CHARACTERS = 1_024
# Our ids, skus and nouns need no percent-encoding, so a path that has any names nothing of ours.
_PATH = re.compile(r"(?:/[A-Za-z0-9._~:@!$&'()*+,;=-]+)+")
_QUERY = re.compile(r"[\x21-\x7e]*")


class MalformedTargetError(Exception):
    """The request's target is no path on this host."""


class NothingHereError(Exception):
    """No public route has this path."""


class WrongMethodError(Exception):
    """No public route has this method."""


class RateLimitedError(Exception):
    """The client asked too often; ``retry_after`` in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many requests; come again in {retry_after} s")
        self.retry_after = retry_after


class BusyError(Exception):
    """More requests are under way than this process takes."""


class SlowClientError(Exception):
    """The client did not send its body in time."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a request line asks for: ``path`` as sent and proven harmless, its segments, the raw query."""

    path: str
    segments: tuple[str, ...]
    query: str


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One noun of the public API: whose it is, and whether every call of it needs a user."""

    name: str
    owner: str
    signed_in: bool = False


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A token bucket: ``per_second`` tokens come, at most ``burst`` are kept."""

    per_second: float
    burst: int

    def __post_init__(self) -> None:
        if not (0 < self.per_second <= 1_000_000 and 1 <= self.burst <= 1_000_000):
            raise ValueError("a rate is more than 0 a second with a burst of at least 1")


@dataclass(frozen=True, kw_only=True)
class Rates:
    """How often whom: see the settings of the gateway."""

    address: Rate
    user: Rate
    sign_up: Rate
    log_in: Rate


@dataclass(frozen=True, kw_only=True)
class Charge:
    """One token to be taken from one bucket; ``kind`` names the bucket's family for metrics."""

    kind: str
    key: str
    rate: Rate


@dataclass(frozen=True, kw_only=True)
class Admission:
    """What the buckets said; ``limit``, ``remaining`` and ``reset_seconds`` are the tightest bucket's."""

    allowed: bool
    kind: str
    limit: int
    remaining: int
    reset_seconds: float
    retry_after_seconds: float


def _rule(noun: str, owner: str, *, signed_in: bool = False) -> tuple[tuple[str, ...], Rule]:
    segments = tuple(noun.split("/"))
    return segments[1:], Rule(name=noun, owner=owner, signed_in=signed_in)


# The whole public surface, longest prefix first. What is not here is not routed, ever.
RULES: Mapping[tuple[str, ...], Rule] = dict(
    (
        _rule("/.well-known/jwks.json", "user"),
        _rule("/v1/users", "user"),
        _rule("/v1/sessions", "user"),
        _rule("/v1/sales", "checkout"),
        _rule("/v1/checkout", "checkout", signed_in=True),
        _rule("/v1/payment", "payment", signed_in=True),
        _rule("/v1/webhooks", "payment"),
        _rule("/v1/orders", "order", signed_in=True),
        _rule("/v1/products/search", "search"),
        _rule("/v1/products", "product"),
        _rule("/v1/cart", "cart"),
        _rule("/v1/notifications", "notification", signed_in=True),
        _rule("/v1/admin/products", "product", signed_in=True),
        _rule("/v1/admin/discounts", "checkout", signed_in=True),
        _rule("/v1/admin/stock", "inventory", signed_in=True),
        _rule("/v1/admin/orders", "order", signed_in=True),
        _rule("/v1/admin/letters", "notification", signed_in=True),
        _rule("/v1/admin/letters:redrive", "notification", signed_in=True),
    )
)
_PREFIX_LENGTHS = (3, 2)
_EXTRA_LIMITS: Mapping[tuple[str, str], Extra] = {
    ("POST", "/v1/users"): "sign_up",
    ("POST", "/v1/sessions"): "log_in",
}


_KEYED = frozenset(
    (call.method, call.path) for call in surface.CALLS if "Idempotency-Key" in call.headers
)
_ONCE = frozenset((call.method, call.path) for call in surface.CALLS if call.once)


def parse_target(raw: str) -> Target:
    """Judge a request line's target as it came; raises MalformedTargetError or NothingHereError.

    Absolute and authority forms are refused, as are empty and dot segments, backslashes, any
    percent-encoding in the path and anything that is not ASCII: what is left means the same to every parser.
    """
    if not raw.startswith("/"):
        raise MalformedTargetError("ask for a path, not for a whole address")
    path, _, query = raw.partition("?")
    if not _QUERY.fullmatch(query):
        raise MalformedTargetError("the query is not ASCII")
    if not _PATH.fullmatch(path):
        raise NothingHereError("there is nothing here")
    segments = tuple(path[1:].split("/"))
    if "." in segments or ".." in segments:
        raise NothingHereError("there is nothing here")
    return Target(path=path, segments=segments, query=query)


def find_rule(target: Target) -> Rule:
    """Return the rule of a public path; raises NothingHereError."""
    if target.segments[0] == ".well-known":
        rule = RULES.get(target.segments)
        if rule is not None:
            return rule
    elif target.segments[0] == "v1":
        for length in _PREFIX_LENGTHS:
            rule = RULES.get(target.segments[:length])
            if rule is not None:
                return rule
    raise NothingHereError("there is nothing here")


def may_repeat(method: str, path: str, *, has_key: bool) -> bool:
    """Tell whether a request that may have arrived may be sent again: by its method, or by a key that is honoured."""
    if (method, path) in _ONCE:
        return False
    return method in ("GET", "PUT", "DELETE") or (has_key and (method, path) in _KEYED)


def nearest_hops(forwarded: str) -> str:
    """Return the right end of an X-Forwarded-For that is worth reading, in whole entries."""
    if len(forwarded) <= MAX_FORWARDED_CHARACTERS:
        return forwarded
    return forwarded[-MAX_FORWARDED_CHARACTERS:].partition(",")[2]


def forwarded_chain(
    peer: str, forwarded: str, trusted: Sequence[Network]
) -> tuple[Address | None, str]:
    """Return the client's address and the X-Forwarded-For to pass on.

    Walking from the peer to the left, the first address that is no trusted proxy is the client: what
    stands left of it was written by strangers. An entry that is no address ends the walk, too.
    """
    client = _address(peer)
    if client is None:
        return None, ""
    chain = [client]
    hops = forwarded.split(",")[-MAX_FORWARDED_HOPS:] if forwarded else []
    while hops and _is_trusted(chain[0], trusted):
        before = _address(hops.pop())
        if before is None:
            break
        chain.insert(0, before)
    return chain[0], ", ".join(map(str, chain))


def _is_trusted(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)


def _address(text: str) -> Address | None:
    """Parse an address, maybe with a port or in brackets; None when it is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def bucket_of(address: Address) -> str:
    """Return whom an address stands for: itself, or an IPv6 customer's whole /64."""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))


def charges(
    method: str, path: str, *, client: str, user_id: str | None, rates: Rates
) -> tuple[Charge, ...]:
    """Return the buckets that a request draws from; ``client`` as ``bucket_of`` gave it."""
    drawn = [Charge(kind="address", key=f"a:{client}", rate=rates.address)]
    if user_id is not None:
        drawn.append(Charge(kind="user", key=f"u:{user_id}", rate=rates.user))
    match _EXTRA_LIMITS.get((method, path)):
        case "sign_up":
            drawn.append(Charge(kind="sign_up", key=f"s:{client}", rate=rates.sign_up))
        case "log_in":
            drawn.append(Charge(kind="log_in", key=f"l:{client}", rate=rates.log_in))
        case None:
            pass
    return tuple(drawn)
