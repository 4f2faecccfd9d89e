"""URLs of Redis clusters."""

import pytest

from doorbuster.kit import redis


@pytest.mark.parametrize(
    ("url", "seeds", "credentials"),
    [
        ("redis+cluster://one:7000", [("one", 7000)], {}),
        ("redis+cluster://one:7000,two:7001/", [("one", 7000), ("two", 7001)], {}),
        ("redis+cluster://[::1]:7000", [("::1", 7000)], {}),
        ("redis+cluster://:p%40ss@one:7000", [("one", 7000)], {"password": "p@ss"}),
        (
            "redis+cluster://me:secret@one:7000",
            [("one", 7000)],
            {"username": "me", "password": "secret"},
        ),
    ],
)
def test_a_cluster_url_names_servers_and_credentials(url, seeds, credentials):
    assert redis.parse_cluster_url(url) == (seeds, credentials)


@pytest.mark.parametrize("places", ["", "one", "one:", ":7000", "one:7000,two", "one:port"])
async def test_a_cluster_url_without_servers_is_refused_and_shows_no_secret(places):
    with pytest.raises(ValueError, match="host:port") as caught:
        async with redis.open_servers(f"redis+cluster://:hush@{places}"):
            pass
    assert "hush" not in str(caught.value)


async def test_a_url_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="redis://"):
        async with redis.open_servers("postgresql://one:7000"):
            pass
