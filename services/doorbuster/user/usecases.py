"""What people do with accounts, sessions and address books: sign up, log in, stay in, leave, change what is theirs."""

import hashlib
import secrets
from dataclasses import dataclass

from prometheus_client import Counter

from doorbuster.contracts import shopping
from doorbuster.kit import ids, telemetry
from doorbuster.kit.clock import Clock

from .domain import (
    REFRESH_TOKEN_LIFE,
    Account,
    Address,
    Attempt,
    BusyError,
    ProfileChange,
    RefreshRefusedError,
    RefreshVerdict,
    TooManyAttemptsError,
    UnacceptableTextError,
    UnknownAddressError,
    UnknownUserError,
    WrongCredentialsError,
    WrongPasswordError,
    clean_address,
    clean_name,
    email_key,
)
from .ports import Accounts, Addresses, Guards, Passwords, Sessions, Tokens

SIGN_UPS = Counter("doorbuster_user_sign_ups", "Accounts made")
LOG_INS = Counter("doorbuster_user_log_ins", "Log-ins by outcome", ["outcome"])
REFRESHES = Counter("doorbuster_user_refreshes", "Refreshed sessions by outcome", ["outcome"])
_REFRESH_BYTES = 32
_REFRESH_PREFIX = "rt_"


@dataclass(frozen=True, kw_only=True)
class OpenSession:
    """What a user holds who is signed in."""

    user_id: str
    access_token: str
    refresh_token: str


class Users:
    """The use cases of the user service."""

    def __init__(
        self,
        *,
        accounts: Accounts,
        sessions: Sessions,
        passwords: Passwords,
        tokens: Tokens,
        guards: Guards,
        clock: Clock,
    ) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._passwords = passwords
        self._tokens = tokens
        self._guards = guards
        self._clock = clock

    async def sign_up(self, name: str, email: str, password: str) -> Account:
        """Make a buyer's account.

        Raises EmailTakenError (after the same work), UnacceptableTextError, BusyError.
        """
        key = email_key(email)
        account = Account(
            user_id=ids.new_id("user"),
            name=clean_name(name),
            email=email,
            role="buyer",
            created_at=self._clock(),
        )
        password_hash = await self._passwords.hash(password)
        await self._accounts.add(account, key, password_hash)
        SIGN_UPS.inc()
        return account

    async def log_in(self, email: str, password: str, place: str) -> OpenSession:
        """Open a session; ``place`` is where the caller is, such as his network address.

        An attempt counts before it is made, so that a storm of them cannot slip past the limits, and counts the
        same for an address without an account. Raises WrongCredentialsError, TooManyAttemptsError, BusyError.
        """
        key = _key_or_raw(email)
        attempt = _attempt("log-in", key, place)
        await self._enter(attempt)
        found = await self._accounts.by_email(key)
        account, password_hash = (None, "") if found is None else found
        is_right = await self._compare(attempt, password_hash or None, password)
        if not is_right or account is None:
            LOG_INS.labels("refused").inc()
            raise WrongCredentialsError("e-mail address or password is wrong")
        now = self._clock()
        session_id, refresh_token = ids.new_id("sess"), _new_refresh_token()
        is_open = await self._sessions.open(
            session_id,
            account.user_id,
            _hash(refresh_token),
            password_hash=password_hash,
            now=now,
            expires_at=now + REFRESH_TOKEN_LIFE,
        )
        if not is_open:
            LOG_INS.labels("refused").inc()
            raise WrongCredentialsError("e-mail address or password is wrong")
        await self._guards.succeed(attempt, now)
        LOG_INS.labels("opened").inc()
        return OpenSession(
            user_id=account.user_id,
            access_token=self._tokens.access_token(account, session_id, now),
            refresh_token=refresh_token,
        )

    async def _enter(self, attempt: Attempt) -> None:
        try:
            await self._guards.enter(attempt, self._clock())
        except TooManyAttemptsError:
            LOG_INS.labels("throttled").inc()
            raise

    async def _compare(self, attempt: Attempt, password_hash: str | None, password: str) -> bool:
        """Compare; whom the full queue sends away has not guessed, and may come again."""
        try:
            return await self._passwords.matches(password_hash, password)
        except BusyError:
            await self._guards.take_back(attempt)
            raise

    async def refresh(self, refresh_token: str) -> OpenSession:
        """Exchange a refresh token; a used one ends its session. Raises RefreshRefusedError."""
        now = self._clock()
        new_token = _new_refresh_token()
        verdict, session_id, account = await self._sessions.rotate(
            _hash(refresh_token), _hash(new_token), now
        )
        REFRESHES.labels(verdict.value).inc()
        if verdict is RefreshVerdict.REVOKE_FAMILY:
            telemetry.log().warning("refresh_token_reused", session_id=session_id)
        if account is None:
            raise RefreshRefusedError("the refresh token is not valid; please log in")
        return OpenSession(
            user_id=account.user_id,
            access_token=self._tokens.access_token(account, session_id, now),
            refresh_token=new_token,
        )

    async def log_out(self, session_id: str) -> None:
        """End a session; its access tokens run out within their 15 minutes."""
        await self._sessions.revoke(session_id, self._clock())

    async def account(self, user_id: str) -> Account:
        """Return an account; raises UnknownUserError."""
        account = await self._accounts.by_id(user_id)
        if account is None:
            raise UnknownUserError("there is no such user")
        return account

    async def change(self, user_id: str, change: ProfileChange) -> Account:
        """Change a profile; raises UnknownUserError, UnacceptableTextError."""
        if "name" in change:
            change = {**change, "name": clean_name(change["name"])}
        if change:
            await self._accounts.change(user_id, change, self._clock())
        return await self.account(user_id)

    async def change_password(
        self, user_id: str, session_id: str, current: str, new: str, place: str
    ) -> None:
        """Change a password and end all sessions but this one.

        Raises WrongPasswordError, TooManyAttemptsError, UnknownUserError, BusyError.
        """
        attempt = _attempt("password", user_id, place)
        await self._enter(attempt)
        old_hash = await self._accounts.password_hash(user_id)
        if old_hash is None:
            raise UnknownUserError("there is no such user")
        if not await self._compare(attempt, old_hash, current):
            raise WrongPasswordError("the current password is another one")
        new_hash, now = await self._passwords.hash(new), self._clock()
        if not await self._accounts.set_password(
            user_id, old_hash, new_hash, now, keep_session=session_id
        ):
            raise WrongPasswordError("the password was changed meanwhile")
        await self._guards.succeed(attempt, now)
        telemetry.log().info("password_changed", user_id=user_id)

    async def log_out_everywhere(self, user_id: str) -> None:
        """End all sessions of a user; access tokens run out within their 15 minutes."""
        await self._sessions.revoke_all(user_id, self._clock())


@dataclass(frozen=True, kw_only=True)
class AddressBook:
    """The addresses of users; another's address does not exist."""

    addresses: Addresses
    clock: Clock

    async def all(self, user_id: str) -> list[Address]:
        """Return a user's book, oldest first."""
        return await self.addresses.all(user_id)

    async def one(self, user_id: str, address_id: str) -> Address:
        """Return one address; raises UnknownAddressError."""
        address = await self.addresses.one(user_id, address_id)
        if address is None:
            raise UnknownAddressError("there is no such address")
        return address

    async def add(self, user_id: str, draft: shopping.AddressDraft) -> Address:
        """Add an address; the very same one is there once, so that this may be repeated.

        Raises TooManyAddressesError, UnacceptableTextError, UnknownUserError.
        """
        return await self.addresses.add(
            user_id, clean_address(draft), self.clock(), lambda: ids.new_id("addr")
        )

    async def put(self, user_id: str, address_id: str, draft: shopping.AddressDraft) -> Address:
        """Replace an address; raises UnknownAddressError, UnacceptableTextError."""
        details = clean_address(draft)
        if not await self.addresses.put(user_id, address_id, details):
            raise UnknownAddressError("there is no such address")
        return Address(address_id=address_id, details=details)

    async def remove(self, user_id: str, address_id: str) -> None:
        """Delete an address; raises UnknownAddressError."""
        if not await self.addresses.remove(user_id, address_id):
            raise UnknownAddressError("there is no such address")


def _key_or_raw(email: str) -> str:
    try:
        return email_key(email)
    except UnacceptableTextError:
        return email  # nobody can have signed up with it; it is looked for all the same


def _attempt(what: str, whose: str, place: str) -> Attempt:
    return Attempt(here=_digest(what, whose, place), anywhere=_digest(what, whose))


def _digest(*parts: str) -> str:
    text = "\x00".join(parts).encode(errors="backslashreplace")
    return hashlib.sha256(text).hexdigest()


def _new_refresh_token() -> str:
    return _REFRESH_PREFIX + secrets.token_urlsafe(_REFRESH_BYTES)


def _hash(refresh_token: str) -> str:
    """Only this is stored: a token has 256 random bits, so a fast hash keeps it."""
    return hashlib.sha256(refresh_token.encode()).hexdigest()
