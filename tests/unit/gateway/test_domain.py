"""What is public, who the client is, what he is charged."""

import ipaddress

import pytest

from doorbuster.gateway import config, domain
from doorbuster.gateway.domain import Rate, Rates

LOOPBACK = config.networks("127.0.0.0/8, ::1, 10.0.0.0/8")
RATES = Rates(
    address=Rate(per_second=100, burst=500),
    user=Rate(per_second=10, burst=40),
    sign_up=Rate(per_second=1, burst=30),
    log_in=Rate(per_second=2, burst=60),
)


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("/v1/users", "user"),
        ("/v1/users/me", "user"),
        ("/v1/sessions", "user"),
        ("/v1/sessions/refresh", "user"),
        ("/.well-known/jwks.json", "user"),
        ("/v1/checkout", "checkout"),
        ("/v1/sales/default.iphone-drop", "checkout"),
        ("/v1/payment", "payment"),
        ("/v1/webhooks/psp", "payment"),
        ("/v1/orders/order_1/status", "order"),
        ("/v1/products/search", "search"),
        ("/v1/products/prod_1", "product"),
        ("/v1/cart/add", "cart"),
    ],
)
def test_every_noun_has_its_owner(path: str, owner: str) -> None:
    assert domain.find_rule(domain.parse_target(path + "?a=%20b")).owner == owner


@pytest.mark.parametrize(
    "raw",
    [
        "/",
        "/v1",
        "/v1/",
        "/v1/orders/",
        "/v2/orders",
        "/V1/orders",
        "/v1/orders//x",
        "//v1/orders",
        "/v1/./orders",
        "/v1/../internal/v1/pins",
        "/v1/orders/..",
        "/v1/orders/../../internal/v1/pins",
        "/v1/orders/%2e%2e/%2e%2e/internal",
        "/v1/orders/..%2finternal",
        "/v1/orders%2f..%2finternal",
        "/v1\\orders",
        "/v1/orders/\\..\\internal",
        "/v1/orders/%00",
        "/v1/orders/\u00fc",
        "/v1/orders/x y",
        "/v1/orders#/internal",
        "/internal/v1/pins",
        "/internal",
        "/control/v1/sales",
        "/metrics",
        "/livez",
        "/readyz",
        "/.well-known",
        "/.well-known/../internal",
        "/.well-known/other.json",
        "/v1/admin/users/user_1",
        "/v1/internal/v1/pins",
    ],
)
def test_what_is_not_public_is_not_there(raw: str) -> None:
    with pytest.raises(domain.NothingHereError):
        domain.find_rule(domain.parse_target(raw))


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "*",
        "v1/orders",
        "http://shop.example/v1/orders",
        "HTTP://user@internal:80/internal/v1/pins",
        "shop.example:443",
        "/v1/orders?a=\u00fc",
        "/v1/orders?a=b c",
        "/v1/orders?a=\r\nX: y",
        "/v1/orders?\x00",
    ],
)
def test_a_target_that_is_no_path_is_malformed(raw: str) -> None:
    with pytest.raises(domain.MalformedTargetError):
        domain.parse_target(raw)


@pytest.mark.parametrize(
    ("peer", "forwarded", "client", "chain"),
    [
        ("203.0.113.9", "", "203.0.113.9", "203.0.113.9"),
        ("203.0.113.9", "198.51.100.7", "203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "", "127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.7", "198.51.100.7", "198.51.100.7, 127.0.0.1"),
        ("127.0.0.1", "6.6.6.6, 198.51.100.7", "198.51.100.7", "198.51.100.7, 127.0.0.1"),
        (
            "127.0.0.1",
            "6.6.6.6,198.51.100.7 , 10.1.2.3",
            "198.51.100.7",
            "198.51.100.7, 10.1.2.3, 127.0.0.1",
        ),
        ("127.0.0.1", "10.0.0.1, 10.0.0.2", "10.0.0.1", "10.0.0.1, 10.0.0.2, 127.0.0.1"),
        ("127.0.0.1", "198.51.100.7, unknown", "127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.7,", "127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.7:4711", "198.51.100.7", "198.51.100.7, 127.0.0.1"),
        ("127.0.0.1", "[2001:db8::1]:443", "2001:db8::1", "2001:db8::1, 127.0.0.1"),
        ("::1", "2001:db8::1", "2001:db8::1", "2001:db8::1, ::1"),
        ("::ffff:127.0.0.1", "198.51.100.7", "198.51.100.7", "198.51.100.7, 127.0.0.1"),
        ("fe80::1%eth0", "198.51.100.7", "fe80::1", "fe80::1"),
    ],
)
def test_the_client_is_the_rightmost_stranger(
    peer: str, forwarded: str, client: str, chain: str
) -> None:
    address, passed_on = domain.forwarded_chain(peer, forwarded, LOOPBACK)
    assert (str(address), passed_on) == (client, chain)


def test_nobody_is_believed_when_no_proxy_is_trusted() -> None:
    address, _ = domain.forwarded_chain("127.0.0.1", "198.51.100.7", ())
    assert str(address) == "127.0.0.1"


def test_a_chain_of_any_length_costs_a_bounded_walk() -> None:
    _, passed_on = domain.forwarded_chain("127.0.0.1", ", ".join(["10.0.0.1"] * 5000), LOOPBACK)
    assert passed_on.count(",") == domain.MAX_FORWARDED_HOPS


def test_of_a_long_header_only_whole_entries_near_us_are_read() -> None:
    assert domain.nearest_hops("198.51.100.7, 10.0.0.1") == "198.51.100.7, 10.0.0.1"
    nearest = domain.nearest_hops("6" * 5000 + ",198.51.100.7, 10.0.0.1")
    assert nearest == "198.51.100.7, 10.0.0.1"
    assert domain.nearest_hops("6" * 5000) == ""


def test_an_ipv6_customer_is_one_client_with_all_his_addresses() -> None:
    one, other, stranger = (
        domain.bucket_of(ipaddress.ip_address(text))
        for text in ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1")
    )
    assert one == other != stranger


@pytest.mark.parametrize(
    ("method", "path", "user", "kinds"),
    [
        ("GET", "/v1/sales", None, ["address"]),
        ("POST", "/v1/checkout", "user_1", ["address", "user"]),
        ("POST", "/v1/users", None, ["address", "sign_up"]),
        ("POST", "/v1/sessions", None, ["address", "log_in"]),
        ("POST", "/v1/sessions/refresh", None, ["address"]),
        ("GET", "/v1/users/me", None, ["address"]),
    ],
)
def test_each_call_is_charged(method: str, path: str, user: str | None, kinds: list[str]) -> None:
    drawn = domain.charges(method, path, client="198.51.100.7", user_id=user, rates=RATES)
    assert [one.kind for one in drawn] == kinds
    assert len({one.key for one in drawn}) == len(kinds)


@pytest.mark.parametrize(
    ("method", "path", "has_key", "may"),
    [
        ("GET", "/v1/orders", False, True),
        ("PUT", "/v1/cart/update", False, True),
        ("DELETE", "/v1/cart/remove", False, True),
        ("PUT", "/v1/users/me/password", False, False),
        ("PUT", "/v1/users/me/addresses/addr_1", False, True),
        ("POST", "/v1/checkout", True, True),
        ("POST", "/v1/payment", True, True),
        ("POST", "/v1/checkout", False, False),
        ("POST", "/v1/cart/add", True, False),
        ("POST", "/v1/sessions/refresh", True, False),
        ("PATCH", "/v1/users/me", True, False),
    ],
)
def test_only_what_is_safe_is_sent_twice(method: str, path: str, has_key: bool, may: bool) -> None:
    assert domain.may_repeat(method, path, has_key=has_key) is may


@pytest.mark.parametrize("raw", ["", "5", "0/5", "-1/5", "5/0", "x/5", "5/x", "nan/5", "1/1e9"])
def test_a_senseless_rate_is_refused(raw: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the setting's name is added by kit.config
        config.rate(raw)


def test_a_rate_is_read() -> None:
    assert config.rate("0.5/30") == Rate(per_second=0.5, burst=30)
