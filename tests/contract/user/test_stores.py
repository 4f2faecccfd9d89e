"""The stores of the user service, fake and real, keep the same rules."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from doorbuster.kit import ids
from doorbuster.testing.accounts import NOON, build_account
from doorbuster.user.domain import (
    MAX_SESSIONS_PER_USER,
    REFRESH_TOKEN_LIFE,
    EmailTakenError,
    RefreshVerdict,
    SigningKey,
)

from .conftest import Stores, log_in, sign_up

DAY = timedelta(days=1)


async def test_an_account_comes_back_as_it_was_stored(stores: Stores) -> None:
    account = build_account(
        ids.new_id("user"),
        name="\u0645\u06cc\u200c \U0001f600",
        created_at=NOON + timedelta(microseconds=1),
    )
    await stores.accounts.add(account, "a@x.org", "hash")
    assert await stores.accounts.by_id(account.user_id) == account
    assert await stores.accounts.by_email("a@x.org") == (account, "hash")


@pytest.mark.parametrize(
    "other", ["ADA@shop.example", "ad\u00e1@shop.example", "\U0001f600@shop.example", "a\u0308"]
)
async def test_addresses_are_compared_exactly(stores: Stores, other: str) -> None:
    await sign_up(stores)
    assert await stores.accounts.by_email(other) is None
    account = await sign_up(stores, other)
    found = await stores.accounts.by_email(other)
    assert found is not None
    assert found[0].user_id == account.user_id


async def test_an_address_is_taken_once_also_at_once(stores: Stores) -> None:
    outcomes = await asyncio.gather(*(sign_up(stores) for _ in range(5)), return_exceptions=True)
    refused = [one for one in outcomes if isinstance(one, Exception)]
    assert len(refused) == 4
    for error in refused:
        assert isinstance(error, EmailTakenError)
        assert "ada@" not in repr(error)
        assert error.__cause__ is None


async def test_roles_and_names_change_where_there_is_an_account(stores: Stores) -> None:
    account = await sign_up(stores)
    assert await stores.accounts.set_role("ada@shop.example", "admin", NOON)
    assert await stores.accounts.set_role("ada@shop.example", "admin", NOON)
    assert not await stores.accounts.set_role("nobody@shop.example", "admin", NOON)
    await stores.accounts.change(account.user_id, {"name": "Ada L.", "phone": "+4912345678"}, NOON)
    await stores.accounts.change(ids.new_id("user"), {"name": "Nobody"}, NOON)
    changed = replace(account, role="admin", name="Ada L.", phone="+4912345678")
    assert await stores.accounts.by_id(account.user_id) == changed
    await stores.accounts.change(account.user_id, {"phone": None}, NOON)
    assert await stores.accounts.by_id(account.user_id) == replace(changed, phone=None)


async def test_a_used_token_is_replaced(stores: Stores) -> None:
    account = await sign_up(stores)
    await log_in(stores, account.user_id, "sess_1", "a")
    answer = await stores.sessions.rotate("a" * 64, "b" * 64, NOON + DAY)
    assert answer == (RefreshVerdict.ROTATE, "sess_1", account)
    late = NOON + DAY + REFRESH_TOKEN_LIFE - timedelta(seconds=1)
    verdict, _, _ = await stores.sessions.rotate("b" * 64, "c" * 64, late)
    assert verdict is RefreshVerdict.ROTATE


async def test_a_reused_token_ends_its_session_and_no_other(stores: Stores) -> None:
    account = await sign_up(stores)
    await log_in(stores, account.user_id, "sess_1", "a")
    await log_in(stores, account.user_id, "sess_2", "x")
    await stores.sessions.rotate("a" * 64, "b" * 64, NOON)
    reused = await stores.sessions.rotate("a" * 64, "c" * 64, NOON)
    assert reused == (RefreshVerdict.REVOKE_FAMILY, "sess_1", None)
    after = await stores.sessions.rotate("b" * 64, "d" * 64, NOON)
    assert after == (RefreshVerdict.REFUSE, "sess_1", None)
    verdict, _, _ = await stores.sessions.rotate("x" * 64, "y" * 64, NOON)
    assert verdict is RefreshVerdict.ROTATE


async def test_one_token_at_once_rotates_once(stores: Stores) -> None:
    account = await sign_up(stores)
    await log_in(stores, account.user_id, "sess_1", "a")
    verdicts = [
        verdict
        for verdict, _, _ in await asyncio.gather(
            *(stores.sessions.rotate("a" * 64, f"{number}" * 64, NOON) for number in range(5))
        )
    ]
    assert verdicts.count(RefreshVerdict.ROTATE) == 1


async def test_a_revoked_or_unknown_session_refuses(stores: Stores) -> None:
    account = await sign_up(stores)
    await log_in(stores, account.user_id, "sess_1", "a")
    for _ in range(2):
        await stores.sessions.revoke("sess_1", NOON)
    await stores.sessions.revoke("sess_9", NOON)
    assert (await stores.sessions.rotate("a" * 64, "b" * 64, NOON))[0] is RefreshVerdict.REFUSE
    unknown = await stores.sessions.rotate("f" * 64, "b" * 64, NOON)
    assert unknown == (RefreshVerdict.REFUSE, "", None)


async def test_a_user_keeps_his_newest_sessions(stores: Stores) -> None:
    account = await sign_up(stores)
    await asyncio.gather(
        *(
            stores.sessions.open(
                f"sess_{number:02}",
                account.user_id,
                f"{number:064}",
                password_hash="hash",
                now=NOON + timedelta(seconds=number),
                expires_at=NOON + DAY,
            )
            for number in range(MAX_SESSIONS_PER_USER)
        )
    )
    newest = NOON + timedelta(seconds=100)
    await stores.sessions.open(
        "sess_99",
        account.user_id,
        "9" * 64,
        password_hash="hash",
        now=newest,
        expires_at=NOON + DAY,
    )
    gone = await stores.sessions.rotate(f"{0:064}", "a" * 64, newest)
    assert gone == (RefreshVerdict.REFUSE, "", None)
    for number in range(1, MAX_SESSIONS_PER_USER):
        verdict, _, _ = await stores.sessions.rotate(f"{number:064}", f"{number:a>64}", newest)
        assert verdict is RefreshVerdict.ROTATE


async def test_expired_sessions_are_forgotten_in_bounded_steps(stores: Stores) -> None:
    account = await sign_up(stores)
    for number in range(4):
        await log_in(stores, account.user_id, f"sess_{number}", str(number))
    after = NOON + REFRESH_TOKEN_LIFE
    assert await stores.sessions.prune(after - timedelta(seconds=1), 3) == 0
    assert await stores.sessions.prune(after, 3) == 6
    assert await stores.sessions.prune(after, 3) == 2
    assert await stores.sessions.prune(after, 3) == 0


async def test_of_two_keys_with_one_number_the_first_stays(stores: Stores) -> None:
    keys = [
        SigningKey(number=1, kid=kid, public_pem="pem", sealed_private="sealed", created_at=NOON)
        for kid in ("u1-a", "u1-b")
    ]
    assert [await stores.keys.add(one) for one in keys] == [True, False]
    assert await stores.keys.all() == [keys[0]]
