"""Sign-up, log-in, refresh and log-out on stores in memory."""

import asyncio
import json

import pytest

from doorbuster.kit import auth
from doorbuster.kit.clock import utc_now
from doorbuster.testing.accounts import (
    FakeAccounts,
    FakeClock,
    FakePasswords,
    FakeSessions,
    FakeSigningKeys,
)
from doorbuster.user import domain
from doorbuster.user.keys import KeyRing, Seal
from doorbuster.user.usecases import Users

PASSWORD = "correct horse"


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
            clock=self.clock,
        )


@pytest.fixture
async def shop() -> Shop:
    made = Shop()
    await made.ring.refresh()
    return made


async def test_who_signed_up_can_log_in_however_he_writes_his_address(shop: Shop) -> None:
    account = await shop.users.sign_up(" Bo ", "Bo@x.org", PASSWORD)
    session = await shop.users.log_in("bO@X.org", PASSWORD)
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
        await shop.users.log_in(email, password)
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
    first = await shop.users.log_in("bo@x.org", PASSWORD)
    other = await shop.users.log_in("bo@x.org", PASSWORD)
    second = await shop.users.refresh(first.refresh_token)
    with pytest.raises(domain.RefreshRefusedError):
        await shop.users.refresh(first.refresh_token)
    with pytest.raises(domain.RefreshRefusedError):
        await shop.users.refresh(second.refresh_token)
    assert (await shop.users.refresh(other.refresh_token)).user_id == first.user_id


async def test_of_two_refreshes_at_once_at_most_one_succeeds(shop: Shop) -> None:
    await shop.users.sign_up("Bo", "bo@x.org", PASSWORD)
    session = await shop.users.log_in("bo@x.org", PASSWORD)
    outcomes = await asyncio.gather(
        *(shop.users.refresh(session.refresh_token) for _ in range(5)), return_exceptions=True
    )
    assert sum(not isinstance(one, Exception) for one in outcomes) == 1


async def test_log_out_ends_the_session(shop: Shop) -> None:
    await shop.users.sign_up("Bo", "bo@x.org", PASSWORD)
    session = await shop.users.log_in("bo@x.org", PASSWORD)
    claims = await verifier(shop).verify(session.access_token)
    await shop.users.log_out(claims.session_id)
    with pytest.raises(domain.RefreshRefusedError):
        await shop.users.refresh(session.refresh_token)


async def test_a_granted_role_is_in_the_next_token(shop: Shop) -> None:
    await shop.users.sign_up("Bo", "bo@x.org", PASSWORD)
    session = await shop.users.log_in("bo@x.org", PASSWORD)
    await shop.accounts.set_role("bo@x.org", "admin", shop.clock())
    refreshed = await shop.users.refresh(session.refresh_token)
    assert (await verifier(shop).verify(session.access_token)).role == "buyer"
    assert (await verifier(shop).verify(refreshed.access_token)).role == "admin"


async def test_a_session_that_nobody_refreshed_for_a_month_is_over(shop: Shop) -> None:
    await shop.users.sign_up("Bo", "bo@x.org", PASSWORD)
    session = await shop.users.log_in("bo@x.org", PASSWORD)
    shop.clock.move(domain.REFRESH_TOKEN_LIFE)
    with pytest.raises(domain.RefreshRefusedError):
        await shop.users.refresh(session.refresh_token)


async def test_renaming_keeps_everything_else(shop: Shop) -> None:
    account = await shop.users.sign_up("Bo", "bo@x.org", PASSWORD)
    renamed = await shop.users.rename(account.user_id, "Bob")
    assert (renamed.name, renamed.email, renamed.role) == ("Bob", "bo@x.org", "buyer")
    with pytest.raises(domain.UnknownUserError):
        await shop.users.rename("user_01h455vb4pex5vsknk084sn02q", "Bob")


def verifier(shop: Shop) -> auth.UserVerifier:
    """Whoever checks tokens elsewhere."""
    return auth.UserVerifier(lambda: _jwks(shop))


async def _jwks(shop: Shop) -> dict[str, object]:
    document: dict[str, object] = json.loads(shop.ring.jwks())
    return document
