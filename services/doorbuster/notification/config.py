"""The notification service's settings, read once at its start."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

from typing_extensions import override

from doorbuster.kit import config

StartTls = Literal["auto", "always", "never"]
_START_TLS: dict[str, StartTls] = {"auto": "auto", "always": "always", "never": "never"}


@dataclass(frozen=True, kw_only=True)
class SmtpServer:
    """Where mail is handed over; ``implicit_tls`` for smtps, otherwise ``start_tls`` says what is asked for."""

    host: str
    port: int
    user: str | None
    password: str | None
    implicit_tls: bool
    start_tls: StartTls

    @override
    def __repr__(self) -> str:
        return f"SmtpServer({self.host}:{self.port})"


def smtp_server(url: str) -> SmtpServer:
    """Parse ``smtp[s]://[user:password@]host[:port][?starttls=auto|always|never]``; raises ValueError or KeyError.

    ``auto`` (the default) encrypts where the server offers it; a password is sent over nothing less than
    ``always`` unless the URL says otherwise.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise ValueError("not an SMTP URL")
    implicit = parts.scheme == "smtps"
    asked = parse_qs(parts.query).get("starttls", ["always" if parts.username else "auto"])[0]
    return SmtpServer(
        host=parts.hostname,
        port=parts.port or (465 if implicit else 25),
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        implicit_tls=implicit,
        start_tls=_START_TLS[asked],
    )


def mail_address(text: str) -> str:
    """Check that this is one bare address; raises ValueError."""
    local, at, domain = text.rpartition("@")
    if not (local and at and domain and text.isascii() and text.isprintable()) or " " in text:
        raise ValueError("not a mail address")
    return text


@dataclass(frozen=True, kw_only=True)
class SmsAccount:
    """Who we are to the SMS provider; ``sender`` is our number (E.164) or an alphanumeric sender id."""

    url: str
    name: str
    token: str
    sender: str

    @override
    def __repr__(self) -> str:
        return f"SmsAccount({self.url})"


def web_address(text: str) -> str:
    """Check that this is an HTTP base URL; raises ValueError."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise ValueError("not an HTTP URL")
    return text.rstrip("/")


@dataclass(frozen=True, kw_only=True)
class NotificationConfig:
    """Where its store, its bus, its providers and its neighbours are.

    Without ``sms_url`` nobody is told by SMS; without ``product_urls`` letters call products by their ids.
    """

    dsn: str = config.setting("DOORBUSTER_NOTIFICATION_DSN", secret=True)
    kafka_bootstrap: str = config.setting("DOORBUSTER_KAFKA_BOOTSTRAP")
    user_urls: tuple[str, ...] = config.setting("DOORBUSTER_USER_URLS", config.comma_list)
    smtp: SmtpServer = config.setting("DOORBUSTER_SMTP_URL", smtp_server, secret=True)
    mail_from: str = config.setting("DOORBUSTER_MAIL_FROM", mail_address)
    key_file: Path = config.setting("DOORBUSTER_SERVICE_KEY_FILE", Path)
    product_urls: tuple[str, ...] = config.setting(
        "DOORBUSTER_PRODUCT_URLS", config.comma_list, ()
    )
    sms_url: str = config.setting("DOORBUSTER_SMS_URL", web_address, "")
    sms_account: str = config.setting("DOORBUSTER_SMS_ACCOUNT", default="")
    sms_token: str = config.setting("DOORBUSTER_SMS_TOKEN", default="", secret=True)
    sms_from: str = config.setting("DOORBUSTER_SMS_FROM", default="")

    def sms(self) -> SmsAccount | None:
        """Return the account at the SMS provider; None when SMS is off. Raises ConfigError when it is half told."""
        if not self.sms_url:
            return None
        told = (self.sms_account, self.sms_token, self.sms_from)
        if not all(told):
            raise config.ConfigError(
                "DOORBUSTER_SMS_URL needs DOORBUSTER_SMS_ACCOUNT, _TOKEN and _FROM"
            )
        if not (self.sms_account.isascii() and self.sms_account.isalnum()):
            raise config.ConfigError("DOORBUSTER_SMS_ACCOUNT is not an account")
        return SmsAccount(
            url=self.sms_url, name=self.sms_account, token=self.sms_token, sender=self.sms_from
        )
