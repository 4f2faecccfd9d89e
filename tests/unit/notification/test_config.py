"""SMTP URLs and mail addresses: what they mean, what is refused."""

import pytest

from doorbuster.kit.config import ConfigError, load
from doorbuster.notification import config

ENV = {
    "DOORBUSTER_NOTIFICATION_DSN": "postgresql://localhost/notification",
    "DOORBUSTER_KAFKA_BOOTSTRAP": "localhost:9092",
    "DOORBUSTER_USER_URLS": "http://localhost:1",
    "DOORBUSTER_SMTP_URL": "smtp://localhost",
    "DOORBUSTER_MAIL_FROM": "shop@doorbuster.example",
    "DOORBUSTER_SERVICE_KEY_FILE": "/key",
}
SMS = {
    "DOORBUSTER_SMS_URL": "http://localhost:2/",
    "DOORBUSTER_SMS_ACCOUNT": "AC1",
    "DOORBUSTER_SMS_TOKEN": "secret",
    "DOORBUSTER_SMS_FROM": "+15005550006",
}


def test_a_plain_url_encrypts_where_the_server_offers_it() -> None:
    server = config.smtp_server("smtp://127.0.0.1:1025")
    assert (server.host, server.port, server.implicit_tls) == ("127.0.0.1", 1025, False)
    assert (server.start_tls, server.user, server.password) == ("auto", None, None)


def test_a_password_is_not_sent_in_the_clear_unless_asked_for() -> None:
    server = config.smtp_server("smtp://shop%40x:p%2Fw@mail.example")
    assert (server.start_tls, server.port) == ("always", 25)
    assert (server.user, server.password) == ("shop@x", "p/w")
    assert config.smtp_server("smtp://a:b@mail.example?starttls=never").start_tls == "never"


def test_smtps_is_encrypted_from_the_first_byte() -> None:
    server = config.smtp_server("smtps://mail.example")
    assert (server.implicit_tls, server.port) == (True, 465)


def test_a_server_never_prints_its_password() -> None:
    assert "secret" not in repr(config.smtp_server("smtp://me:secret@mail.example"))


@pytest.mark.parametrize(
    "url", ["", "mail.example", "http://mail.example", "smtp://", "smtp://h:99999", "smtp://h:x"]
)
def test_what_is_no_smtp_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        config.smtp_server(url)


def test_an_unknown_tls_wish_is_refused() -> None:
    with pytest.raises(KeyError):
        config.smtp_server("smtp://h?starttls=maybe")


@pytest.mark.parametrize("text", ["", "shop", "@x", "a@", "a b@x", "a@x\r\nBcc: y", "ü@x"])
def test_what_is_no_sender_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a mail address"):
        config.mail_address(text)


def test_without_a_url_sms_is_off() -> None:
    assert load(config.NotificationConfig, ENV).sms() is None


def test_an_sms_account_never_prints_its_token() -> None:
    settings = load(config.NotificationConfig, ENV | SMS)
    account = settings.sms()
    assert account is not None
    assert (account.url, account.token) == ("http://localhost:2", "secret")
    assert "secret" not in repr(account) + repr(settings)


@pytest.mark.parametrize(
    "wrong",
    [
        *({name: ""} for name in ("DOORBUSTER_SMS_ACCOUNT", "DOORBUSTER_SMS_TOKEN")),
        {"DOORBUSTER_SMS_FROM": ""},
        {"DOORBUSTER_SMS_ACCOUNT": "../AC1"},
    ],
)
def test_half_an_sms_account_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="DOORBUSTER_SMS"):
        load(config.NotificationConfig, ENV | SMS | wrong).sms()


@pytest.mark.parametrize("url", ["localhost", "ftp://x", "http://", "http://me:pw@x"])
def test_what_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        load(config.NotificationConfig, ENV | SMS | {"DOORBUSTER_SMS_URL": url})
