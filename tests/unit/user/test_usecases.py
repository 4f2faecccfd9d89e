"""Sign-up, log-in, refresh and log-out on stores in memory."""

import asyncio
import json
from datetime import timedelta

import pytest

from doorbuster.contracts import shopping
from doorbuster.kit import auth
from doorbuster.kit.clock import utc_now
from doorbuster.testing.accounts import (
    FakeAccounts,
    FakeAddresses,
    FakeClock,
    FakeGuards,
    FakePasswords,
    FakeSessions,
    FakeSigningKeys,
)
from doorbuster.user import domain
from doorbuster.user.keys import KeyRing, Seal
from doorbuster.user.usecases import AddressBook, Users

PASSWORD = "correct horse"
HOME = "192.0.2.1"


class Shop:
    """The user service without its edges."""

    def __init__(self) -> None:
        self.clock = FakeClock(utc_now())  # tokens are checked against the machine's clock
        self.accounts = FakeAccounts()
        self.sessions = FakeSessions(self.accounts)
        self.passwords = FakePasswords()
        self.ring = KeyRing(FakeSigningKeys(), Seal("secret"), self.clock)
        self.users = Users(
            accounts=self.accounts,
            sessions=self.sessions,
            passwords=self.passwords,
            tokens=self.ring,
            guards=FakeGuards(),
            clock=self.clock,
        )
        self.book = AddressBook(addresses=FakeAddresses(self.accounts), clock=self.clock)


@pytest.fixture
async def shop() -> Shop:
    made = Shop()
    await made.ring.refresh()
    return made


async def test_who_signed_up_can_log_in_however_he_writes_his_address(shop: Shop) -> None:
    account = await shop.users.sign_up(" Bo ", "Bo@x.org", PASSWORD)
    session = await shop.users.log_in("bO@X.org", PASSWORD, HOME)
    assert session.user_id == account.user_id
    assert (account.name, account.email, account.role) == ("Bo", "Bo@x.org", "buyer")


async def test_of_two_sign_ups_with_one_address_one_wins(shop: Shop) -> None:
    outcomes = await asyncio.gather(
        *(shop.users.sign_up("Bo", email, PASSWORD) for email in ("b@x.org", "B@x.org")),
        return_exceptions=True,
    )
    refused = [one for one in outcomes if isinstance(one, domain.EmailTakenError)]
    assert len(refused) == 1
    assert len(shop.accounts.rows) == 1


@pytest.mark.parametrize(
    ("email", "password"),
    [("bo@x.org", "wrong"), ("nobody@x.org", PASSWORD), ("b o@x.org", PASSWORD)],
)
async def test_wrong_credentials_are_compared_and_refused_alike(
    shop: Shop, email: str, password: str
) -> None:
    await shop.users.sign_up("Bo", "bo@x.org", PASSWORD)
    with pytest.raises(domain.WrongCredentialsError) as refused:
        await shop.users.log_in(email, password, HOME)
    assert str(refused.value) == "e-mail address or password is wrong"
    assert shop.passwords.compared == 1
    assert not shop.sessions.sessions


async def test_a_full_queue_of_hashes_refuses_and_changes_nothing(shop: Shop) -> None:
    shop.passwords.is_full = True
    with pytest.raises(domain.BusyError):
        await shop.users.sign_up("Bo", "bo@x.org", PASSWORD)
    assert not shop.accounts.rows


async def test_a_refresh_token_works_once_and_its_copy_ends_the_family(shop: Shop) -> None:
    await shop.users.sign_up("Bo", "bo@x.org", PASSWORD)
    first = await shop.users.log_in("bo@x.org", PASSWORD, HOME)
    other = await shop.users.log_in("bo@x.org", PASSWORD, HOME)
    second = await shop.users.refresh(first.refresh_token)
    with pytest.raises(domain.RefreshRefusedError):
        await shop.users.refresh(first.refresh_token)
    with pytest.raises(domain.RefreshRefusedError):
        await shop.users.refresh(second.refresh_token)
    assert (await shop.users.refresh(other.refresh_token)).user_id == first.user_id


async def test_of_two_refreshes_at_once_at_most_one_succeeds(shop: Shop) -> None:
    await shop.users.sign_up("Bo", "bo@x.org", PASSWORD)
    session = await shop.users.log_in("bo@x.org", PASSWORD, HOME)
    outcomes = await asyncio.gather(
        *(shop.users.refresh(session.refresh_token) for _ in range(5)), return_exceptions=True
    )
    assert sum(not isinstance(one, Exception) for one in outcomes) == 1


async def test_log_out_ends_the_session(shop: Shop) -> None:
    await shop.users.sign_up("Bo", "bo@x.org", PASSWORD)
    session = await shop.users.log_in("bo@x.org", PASSWORD, HOME)
    claims = await verifier(shop).verify(session.access_token)
    await shop.users.log_out(claims.session_id)
    with pytest.raises(domain.RefreshRefusedError):
        await shop.users.refresh(session.refresh_token)


async def test_a_granted_role_is_in_the_next_token(shop: Shop) -> None:
    await shop.users.sign_up("Bo", "bo@x.org", PASSWORD)
    session = await shop.users.log_in("bo@x.org", PASSWORD, HOME)
    await shop.accounts.set_role("bo@x.org", "admin", shop.clock())
    refreshed = await shop.users.refresh(session.refresh_token)
    assert (await verifier(shop).verify(session.access_token)).role == "buyer"
    assert (await verifier(shop).verify(refreshed.access_token)).role == "admin"


async def test_a_session_that_nobody_refreshed_for_a_month_is_over(shop: Shop) -> None:
    await shop.users.sign_up("Bo", "bo@x.org", PASSWORD)
    session = await shop.users.log_in("bo@x.org", PASSWORD, HOME)
    shop.clock.move(domain.REFRESH_TOKEN_LIFE)
    with pytest.raises(domain.RefreshRefusedError):
        await shop.users.refresh(session.refresh_token)


async def test_renaming_keeps_everything_else(shop: Shop) -> None:
    account = await shop.users.sign_up("Bo", "bo@x.org", PASSWORD)
    renamed = await shop.users.change(account.user_id, {"name": " Bob "})
    assert (renamed.name, renamed.email, renamed.role) == ("Bob", "bo@x.org", "buyer")
    with pytest.raises(domain.UnknownUserError):
        await shop.users.change("user_01h455vb4pex5vsknk084sn02q", {"name": "Bob"})


def verifier(shop: Shop) -> auth.UserVerifier:
    """Whoever checks tokens elsewhere."""
    return auth.UserVerifier(lambda: _jwks(shop))


async def _jwks(shop: Shop) -> dict[str, object]:
    document: dict[str, object] = json.loads(shop.ring.jwks())
    return document


async def attempts(shop: Shop, count: int, email: str, place: str) -> list[str]:
    """Return how so many wrong log-ins at once were refused."""
    outcomes = await asyncio.gather(
        *(shop.users.log_in(email, "wrong", place) for _ in range(count)), return_exceptions=True
    )
    return [type(one).__name__ for one in outcomes]


@pytest.mark.parametrize("email", ["bo@x.org", "nobody@x.org", "b o@x.org"])
async def test_a_storm_of_guesses_is_throttled_alike_with_and_without_an_account(
    shop: Shop, email: str
) -> None:
    await shop.users.sign_up("Bo", "bo@x.org", PASSWORD)
    refused = await attempts(shop, 40, email, HOME)
    assert refused.count("WrongCredentialsError") == domain.HERE.burst
    assert refused.count("TooManyAttemptsError") == 40 - domain.HERE.burst
    assert shop.passwords.compared == domain.HERE.burst


async def test_a_guesser_does_not_lock_the_owner_out(shop: Shop) -> None:
    await shop.users.sign_up("Bo", "bo@x.org", PASSWORD)
    await shop.users.log_in("bo@x.org", PASSWORD, HOME)
    for number in range(12):
        await attempts(shop, 20, "bo@x.org", f"bot {number}")
    await shop.users.log_in("bo@x.org", PASSWORD, HOME)
    with pytest.raises(domain.TooManyAttemptsError):
        await shop.users.log_in("bo@x.org", PASSWORD, "a new phone")
    shop.clock.move(domain.ANYWHERE.step)
    await shop.users.log_in("bo@x.org", PASSWORD, "a new phone")


async def test_one_may_be_wrong_again_a_minute_later(shop: Shop) -> None:
    await shop.users.sign_up("Bo", "bo@x.org", PASSWORD)
    await attempts(shop, 20, "bo@x.org", HOME)
    with pytest.raises(domain.TooManyAttemptsError) as refused:
        await shop.users.log_in("bo@x.org", PASSWORD, HOME)
    shop.clock.move(timedelta(seconds=refused.value.retry_after))
    await shop.users.log_in("bo@x.org", PASSWORD, HOME)
    assert set(await attempts(shop, 5, "bo@x.org", HOME)) == {"WrongCredentialsError"}


async def test_a_new_password_opens_and_the_old_one_does_not(shop: Shop) -> None:
    account = await shop.users.sign_up("Bo", "bo@x.org", PASSWORD)
    mine = await shop.users.log_in("bo@x.org", PASSWORD, HOME)
    other = await shop.users.log_in("bo@x.org", PASSWORD, HOME)
    session = (await verifier(shop).verify(mine.access_token)).session_id
    change = (account.user_id, session)
    with pytest.raises(domain.WrongPasswordError):
        await shop.users.change_password(*change, "wrong", "new password", HOME)
    await shop.users.change_password(*change, PASSWORD, "new password", HOME)
    with pytest.raises(domain.WrongPasswordError):
        await shop.users.change_password(*change, PASSWORD, "another one", HOME)
    with pytest.raises(domain.WrongCredentialsError):
        await shop.users.log_in("bo@x.org", PASSWORD, HOME)
    await shop.users.log_in("bo@x.org", "new password", HOME)
    await shop.users.refresh(mine.refresh_token)
    with pytest.raises(domain.RefreshRefusedError):
        await shop.users.refresh(other.refresh_token)


async def test_guesses_at_the_current_password_are_throttled(shop: Shop) -> None:
    account = await shop.users.sign_up("Bo", "bo@x.org", PASSWORD)
    outcomes = await asyncio.gather(
        *(
            shop.users.change_password(account.user_id, "s", "wrong", "new password", HOME)
            for _ in range(20)
        ),
        return_exceptions=True,
    )
    refused = [type(one).__name__ for one in outcomes]
    assert refused.count("WrongPasswordError") == domain.HERE.burst
    assert refused.count("TooManyAttemptsError") == 20 - domain.HERE.burst


async def test_log_out_everywhere_ends_every_session(shop: Shop) -> None:
    account = await shop.users.sign_up("Bo", "bo@x.org", PASSWORD)
    opened = [await shop.users.log_in("bo@x.org", PASSWORD, HOME) for _ in range(3)]
    await shop.users.log_out_everywhere(account.user_id)
    for session in opened:
        with pytest.raises(domain.RefreshRefusedError):
            await shop.users.refresh(session.refresh_token)


async def test_a_phone_is_set_kept_and_deleted(shop: Shop) -> None:
    account = await shop.users.sign_up("Bo", "bo@x.org", PASSWORD)
    change = shop.users.change
    assert (await change(account.user_id, {"phone": "+4912345678"})).phone == "+4912345678"
    assert (await change(account.user_id, {"name": "Bob"})).phone == "+4912345678"
    assert (await change(account.user_id, {})).name == "Bob"
    assert (await change(account.user_id, {"phone": None})).phone is None


def draft(**changed: str) -> shopping.AddressDraft:
    fields = {"recipient": "Bo", "line1": "1 Road", "city": "Ulm", "country": "DE"} | changed
    return shopping.AddressDraft(**{"postal_code": "12345"} | fields)


async def test_an_address_is_cleaned_and_added_once(shop: Shop) -> None:
    account = await shop.users.sign_up("Bo", "bo@x.org", PASSWORD)
    added = await shop.book.add(account.user_id, draft(recipient="  Bo "))
    assert added.details.recipient == "Bo"
    assert await shop.book.add(account.user_id, draft()) == added
    assert await shop.book.all(account.user_id) == [added]


@pytest.mark.parametrize(
    "wrong",
    [
        {"country": "XX"},
        {"city": " "},
        {"line1": "\u00a0"},
        {"recipient": "Bo\r\nBcc: all"},
        {"label": "\u202eeb"},
        {"region": "a\x00b"},
    ],
)
async def test_what_no_label_should_show_is_no_address(shop: Shop, wrong: dict[str, str]) -> None:
    account = await shop.users.sign_up("Bo", "bo@x.org", PASSWORD)
    kept = await shop.book.add(account.user_id, draft())
    with pytest.raises(domain.UnacceptableTextError):
        await shop.book.add(account.user_id, draft(**wrong))
    with pytest.raises(domain.UnacceptableTextError):
        await shop.book.put(account.user_id, kept.address_id, draft(**wrong))
    assert await shop.book.all(account.user_id) == [kept]


async def test_anothers_address_does_not_exist(shop: Shop) -> None:
    bo = await shop.users.sign_up("Bo", "bo@x.org", PASSWORD)
    address = await shop.book.add(bo.user_id, draft())
    stranger = "user_01h455vb4pex5vsknk084sn02q"
    for call in (
        shop.book.one(stranger, address.address_id),
        shop.book.put(stranger, address.address_id, draft(city="Rom")),
        shop.book.remove(stranger, address.address_id),
    ):
        with pytest.raises(domain.UnknownAddressError):
            await call
    assert await shop.book.one(bo.user_id, address.address_id) == address
    await shop.book.remove(bo.user_id, address.address_id)
    with pytest.raises(domain.UnknownAddressError):
        await shop.book.remove(bo.user_id, address.address_id)


async def test_whom_the_full_queue_sends_away_may_come_again(shop: Shop) -> None:
    await shop.users.sign_up("Bo", "bo@x.org", PASSWORD)
    shop.passwords.is_full = True
    for _ in range(3 * domain.HERE.burst):
        with pytest.raises(domain.BusyError):
            await shop.users.log_in("bo@x.org", PASSWORD, HOME)
    shop.passwords.is_full = False
    await shop.users.log_in("bo@x.org", PASSWORD, HOME)
