"""What people do with accounts and sessions: sign up, log in, stay in, leave, change their name."""

import hashlib
import secrets
from dataclasses import dataclass

from prometheus_client import Counter

from doorbuster.kit import ids, telemetry
from doorbuster.kit.clock import Clock

from .domain import (
    REFRESH_TOKEN_LIFE,
    Account,
    RefreshRefusedError,
    RefreshVerdict,
    UnacceptableTextError,
    UnknownUserError,
    WrongCredentialsError,
    clean_name,
    email_key,
)
from .ports import Accounts, Passwords, Sessions, Tokens

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
        clock: Clock,
    ) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._passwords = passwords
        self._tokens = tokens
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

    async def log_in(self, email: str, password: str) -> OpenSession:
        """Open a session; raises WrongCredentialsError, BusyError."""
        found = await self._find(email)
        account, password_hash = (None, None) if found is None else found
        if not await self._passwords.matches(password_hash, password) or account is None:
            LOG_INS.labels("refused").inc()
            raise WrongCredentialsError("e-mail address or password is wrong")
        now = self._clock()
        session_id, refresh_token = ids.new_id("sess"), _new_refresh_token()
        await self._sessions.open(
            session_id,
            account.user_id,
            _hash(refresh_token),
            now=now,
            expires_at=now + REFRESH_TOKEN_LIFE,
        )
        LOG_INS.labels("opened").inc()
        return OpenSession(
            user_id=account.user_id,
            access_token=self._tokens.access_token(account, session_id, now),
            refresh_token=refresh_token,
        )

    async def _find(self, email: str) -> tuple[Account, str] | None:
        try:
            return await self._accounts.by_email(email_key(email))
        except UnacceptableTextError:
            return None  # nobody can have signed up with it

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

    async def rename(self, user_id: str, name: str) -> Account:
        """Give an account another name; raises UnknownUserError, UnacceptableTextError."""
        await self._accounts.rename(user_id, clean_name(name), self._clock())
        return await self.account(user_id)


def _new_refresh_token() -> str:
    return _REFRESH_PREFIX + secrets.token_urlsafe(_REFRESH_BYTES)


def _hash(refresh_token: str) -> str:
    """Only this is stored: a token has 256 random bits, so a fast hash keeps it."""
    return hashlib.sha256(refresh_token.encode()).hexdigest()
