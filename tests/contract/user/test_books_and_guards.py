"""Address books, passwords and guards, fake and real, keep the same rules under parallel use."""

import asyncio
from datetime import timedelta

import pytest

from doorbuster.contracts import shopping
from doorbuster.kit import ids
from doorbuster.testing.accounts import NOON
from doorbuster.user import domain
from doorbuster.user.domain import Attempt, RefreshVerdict, TooManyAttemptsError

from .conftest import Stores, log_in, sign_up

HOME = shopping.AddressDraft(
    recipient="Ada \U0001f600",
    line1="1 Main Road",
    city="\u0645\u06cc\u200c",
    postal_code="12345",
    country="DE",
    phone="+4912345678",
)


def draft(number: int) -> shopping.AddressDraft:
    return shopping.AddressDraft(
        recipient="Ada", line1=f"{number} Main Road", city="Ulm", postal_code="1", country="DE"
    )


def new_id() -> str:
    return ids.new_id("addr")


async def test_an_address_comes_back_changes_and_goes(stores: Stores) -> None:
    ada, bo = await sign_up(stores), await sign_up(stores, "bo@shop.example")
    home = await stores.addresses.add(ada.user_id, HOME, NOON, new_id)
    later = NOON + timedelta(seconds=1)
    other = await stores.addresses.add(ada.user_id, draft(1), later, new_id)
    assert await stores.addresses.all(ada.user_id) == [home, other]
    assert await stores.addresses.one(ada.user_id, home.address_id) == home
    for _ in range(2):
        assert await stores.addresses.put(ada.user_id, other.address_id, draft(2))
    for stranger in (
        stores.addresses.put(bo.user_id, home.address_id, draft(3)),
        stores.addresses.remove(bo.user_id, home.address_id),
    ):
        assert not await stranger
    assert await stores.addresses.one(bo.user_id, home.address_id) is None
    assert await stores.addresses.remove(ada.user_id, home.address_id)
    assert not await stores.addresses.remove(ada.user_id, home.address_id)
    [left] = await stores.addresses.all(ada.user_id)
    assert left.details == draft(2)


async def test_adds_at_once_lose_nothing_and_never_exceed_the_limit(stores: Stores) -> None:
    ada = await sign_up(stores)
    outcomes = await asyncio.gather(
        *(stores.addresses.add(ada.user_id, draft(n), NOON, new_id) for n in range(30)),
        return_exceptions=True,
    )
    refused = [one for one in outcomes if isinstance(one, domain.TooManyAddressesError)]
    assert len(refused) == 30 - domain.MAX_ADDRESSES
    assert len(await stores.addresses.all(ada.user_id)) == domain.MAX_ADDRESSES


async def test_the_very_same_address_is_there_once(stores: Stores) -> None:
    ada = await sign_up(stores)
    added = await asyncio.gather(
        *(stores.addresses.add(ada.user_id, HOME, NOON, new_id) for _ in range(5))
    )
    assert len({one.address_id for one in added}) == 1
    with pytest.raises(domain.UnknownUserError):
        await stores.addresses.add(ids.new_id("user"), HOME, NOON, new_id)


async def test_a_new_password_ends_all_other_sessions(stores: Stores) -> None:
    ada = await sign_up(stores)
    await log_in(stores, ada.user_id, "sess_1", "a")
    await log_in(stores, ada.user_id, "sess_2", "b")
    changes = await asyncio.gather(
        *(
            stores.accounts.set_password(
                ada.user_id, "hash", f"new {number}", NOON, keep_session="sess_1"
            )
            for number in range(4)
        )
    )
    assert sorted(changes) == [False, False, False, True]
    assert await stores.accounts.password_hash(ada.user_id) == f"new {changes.index(True)}"
    assert (await stores.sessions.rotate("b" * 64, "c" * 64, NOON))[0] is RefreshVerdict.REFUSE
    assert (await stores.sessions.rotate("a" * 64, "d" * 64, NOON))[0] is RefreshVerdict.ROTATE
    late = await stores.sessions.open(
        "sess_3",
        ada.user_id,
        "e" * 64,
        password_hash="hash",
        now=NOON,
        expires_at=NOON + timedelta(days=1),
    )
    assert not late


async def test_log_out_everywhere_ends_every_session_of_this_user(stores: Stores) -> None:
    ada, bo = await sign_up(stores), await sign_up(stores, "bo@shop.example")
    await log_in(stores, ada.user_id, "sess_1", "a")
    await log_in(stores, ada.user_id, "sess_2", "b")
    await log_in(stores, bo.user_id, "sess_3", "c")
    for _ in range(2):
        await stores.sessions.revoke_all(ada.user_id, NOON)
    verdicts = [
        (await stores.sessions.rotate(token * 64, token.upper() * 64, NOON))[0] for token in "abc"
    ]
    refuse = RefreshVerdict.REFUSE
    assert verdicts == [refuse, refuse, RefreshVerdict.ROTATE]


def attempt(place: str) -> Attempt:
    return Attempt(here=f"ada at {place}", anywhere="ada")


async def tries(stores: Stores, count: int, place: str = "home") -> int:
    """Return how many of so many attempts at once were let in."""
    outcomes = await asyncio.gather(
        *(stores.guards.enter(attempt(place), NOON) for _ in range(count)),
        return_exceptions=True,
    )
    assert all(one is None or isinstance(one, TooManyAttemptsError) for one in outcomes), outcomes
    return outcomes.count(None)


async def test_a_storm_from_one_place_is_let_in_up_to_the_burst(stores: Stores) -> None:
    assert await tries(stores, 40) == domain.HERE.burst
    with pytest.raises(TooManyAttemptsError) as refused:
        await stores.guards.enter(attempt("home"), NOON)
    assert refused.value.retry_after == 60
    assert await tries(stores, 3, "elsewhere") == 3
    await stores.guards.enter(attempt("home"), NOON + domain.HERE.step)


async def test_a_storm_from_everywhere_stops_strangers_and_not_where_it_was_right(
    stores: Stores,
) -> None:
    await stores.guards.enter(attempt("home"), NOON)
    await stores.guards.succeed(attempt("home"), NOON)
    storms = [await tries(stores, 10, f"bot {number}") for number in range(10)]
    assert sum(storms) == domain.ANYWHERE.burst - 1
    assert await tries(stores, 1, "another bot") == 0
    assert await tries(stores, 20) == domain.HERE.burst


async def test_a_right_password_forgives_its_place_only(stores: Stores) -> None:
    await tries(stores, 9)
    await stores.guards.succeed(attempt("home"), NOON)
    assert await tries(stores, 20) == domain.HERE.burst


async def test_an_attempt_that_was_not_made_is_not_counted(stores: Stores) -> None:
    await tries(stores, 20)
    await stores.guards.take_back(attempt("home"))
    assert await tries(stores, 5) == 1


async def test_guards_that_say_nothing_are_forgotten(stores: Stores) -> None:
    await stores.guards.enter(attempt("home"), NOON)
    assert await stores.guards.prune(NOON, 10) == 0
    assert await stores.guards.prune(NOON + domain.ANYWHERE.step, 10) == 1
    await stores.guards.succeed(attempt("home"), NOON)
    assert await stores.guards.prune(NOON + domain.HERE.step, 10) == 0
    assert await stores.guards.prune(NOON + domain.TRUST_LIFE, 10) == 1
