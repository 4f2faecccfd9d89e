"""The endpoints of Stripe's API that the sandbox has: each takes a form and returns status and JSON."""

import dataclasses
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from . import cards, forms, intents
from .behaviour import Operation
from .cards import Card, CardRefusedError, Conduct
from .forms import Form, FormError
from .intents import AmountError, Intent, StateError
from .ledger import Ledger

MAX_PAGE = 100
_MIN_PAGE = 1
# What each endpoint may be sent: less than Stripe takes, and nothing that it does not take.
_EXPAND = frozenset({"expand"})
_FIELDS: Mapping[str, frozenset[str]] = {
    "method": frozenset({"type", "card"}),
    "create": _EXPAND
    | {"amount", "currency", "capture_method", "automatic_payment_methods", "metadata"}
    | {"payment_method", "confirm", "error_on_requires_action"},
    "list": frozenset({"limit", "starting_after"}),
    "confirm": _EXPAND | {"payment_method", "error_on_requires_action"},
    "capture": _EXPAND | {"amount_to_capture"},
    "cancel": _EXPAND | {"cancellation_reason"},
    "refund": _EXPAND | {"payment_intent", "charge", "amount", "reason"},
}
_INNER_FIELDS: Mapping[str, frozenset[str]] = {
    "card": frozenset({"number", "exp_month", "exp_year", "cvc", "token"}),
    "automatic_payment_methods": frozenset({"enabled", "allow_redirects"}),
}


@dataclass(frozen=True, kw_only=True)
class Reply:
    """Status and JSON body; ``began`` is false when the request was refused before any work was done."""

    status: int
    body: dict[str, Any]
    began: bool = True


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request: the id in its path, its form, its time in Unix seconds, and a decline that was switched on."""

    object_id: str
    form: Form
    now: int
    decline: Conduct | None = None


class _MissingError(Exception):
    def __init__(self, kind: str, object_id: str, param: str) -> None:
        super().__init__(f"No such {kind}: '{object_id[:100]}'")
        self.param = param


def error(kind: str, message: str, *, status: int, began: bool = False, **more: Any) -> Reply:
    """Return an error as Stripe writes it."""
    details = {name: value for name, value in more.items() if value is not None}
    body = {"error": {"type": kind, "message": message, **details}}
    return Reply(status=status, body=body, began=began)


def _require_known(name: str, form: Form) -> None:
    forms.require_known(form, _FIELDS.get(name, _EXPAND))
    for outer, names in _INNER_FIELDS.items():
        inner = form.get(outer)
        if isinstance(inner, dict):
            forms.require_known(inner, names, outer)


class Endpoints:
    """The API over a ledger. Call :meth:`answer` inside one of the ledger's transactions."""

    def __init__(self, ledger: Ledger, api_version: str) -> None:
        self._ledger = ledger
        self._api_version = api_version
        self._by_name: dict[Operation | str, Callable[[Call], Reply]] = {
            "method": self._create_method,
            "retrieve_method": self._retrieve_method,
            "create": self._create,
            "retrieve": self._retrieve,
            "list": self._list,
            "confirm": self._confirm,
            "capture": self._capture,
            "cancel": self._cancel,
            "refund": self._refund,
            "retrieve_refund": self._retrieve_refund,
        }

    def answer(self, name: str, call: Call) -> Reply:
        """Do what was asked; every refusal is an answer, too."""
        try:
            _require_known(name, call.form)
            return self._by_name[name](call)
        except FormError as refusal:
            return error(
                "invalid_request_error",
                str(refusal),
                status=400,
                code=refusal.code,
                param=refusal.param,
            )
        except _MissingError as refusal:
            return error(
                "invalid_request_error",
                str(refusal),
                status=404 if refusal.param == "intent" else 400,
                code="resource_missing",
                param=refusal.param,
            )
        except CardRefusedError as refusal:
            return error(
                "card_error", str(refusal), status=402, code=refusal.code, param=refusal.param
            )
        except AmountError as refusal:
            return error(
                "invalid_request_error",
                str(refusal),
                status=400,
                began=True,
                code=refusal.code,
                param="amount",
            )
        except StateError as refusal:
            return error(
                "invalid_request_error",
                str(refusal),
                status=400,
                began=True,
                code="payment_intent_unexpected_state",
                payment_intent=intents.intent_json(refusal.intent),
            )

    def _create_method(self, call: Call) -> Reply:
        if forms.text(call.form, "type") not in (None, "card"):
            raise FormError("type", "Only cards are known here.")
        given = call.form.get("card")
        if not isinstance(given, dict):
            raise FormError("card", "Missing required param: card.")
        today = datetime.fromtimestamp(call.now, UTC).date()
        token = forms.text(given, "token")
        if token is not None:
            card = cards.from_token(token, today=today)
            if card is None:
                raise _MissingError("token", token, "card[token]")
        else:
            number = forms.text(given, "number", limit=30)
            month, year = forms.integer(given, "exp_month"), forms.integer(given, "exp_year")
            if number is None or month is None or year is None:
                raise FormError("card", "Missing required param: card[number] or its expiry.")
            cvc = forms.text(given, "cvc", limit=10)
            card = cards.from_number(number, month, year, cvc, today=today)
        method_id = "pm_" + secrets.token_hex(12)
        self._ledger.add_method(method_id, card, now=call.now)
        return Reply(status=200, body=intents.method_json(method_id, card, created=call.now))

    def _retrieve_method(self, call: Call) -> Reply:
        card, created = self._method(call.object_id, call, "intent")
        return Reply(status=200, body=intents.method_json(call.object_id, card, created=created))

    def _method(self, method_id: str, call: Call, param: str) -> tuple[Card, int]:
        today = datetime.fromtimestamp(call.now, UTC).date()
        known = self._ledger.method(method_id)
        if known is not None:
            return known
        shared = cards.from_token(method_id, today=today) if method_id[:3] == "pm_" else None
        if shared is None:
            raise _MissingError("PaymentMethod", method_id, param)
        return shared, call.now

    def _create(self, call: Call) -> Reply:
        amount = forms.integer(call.form, "amount")
        currency = forms.text(call.form, "currency", limit=3)
        if amount is None or not 0 < amount <= intents.MAX_AMOUNT_MINOR:
            raise FormError("amount", "This value must be greater than or equal to 1.")
        if currency is None or len(currency) != 3 or not currency.isascii():
            raise FormError("currency", "Missing required param: currency.")
        capture = forms.text(call.form, "capture_method") or "automatic"
        if capture not in ("automatic", "manual"):
            raise FormError("capture_method", "Invalid capture_method.")
        method_id = forms.text(call.form, "payment_method")
        if method_id is not None:
            self._method(method_id, call, "payment_method")
        intent = Intent(
            id="pi_" + secrets.token_hex(12),
            amount=amount,
            currency=currency.lower(),
            capture_method="manual" if capture == "manual" else "automatic",
            created=call.now,
            metadata=forms.mapping(call.form, "metadata"),
            status="requires_confirmation" if method_id else "requires_payment_method",
            payment_method=method_id,
        )
        self._save(intent, call, "created")
        if forms.flag(call.form, "confirm"):
            return self._confirm(dataclasses.replace(call, object_id=intent.id))
        return self._show(intent, call)

    def _retrieve(self, call: Call) -> Reply:
        return self._show(self._intent(call), call)

    def _list(self, call: Call) -> Reply:
        limit = forms.integer(call.form, "limit") or 10
        if not _MIN_PAGE <= limit <= MAX_PAGE:
            raise FormError("limit", f"limit is between {_MIN_PAGE} and {MAX_PAGE}.")
        after = forms.text(call.form, "starting_after")
        found = self._ledger.intents(limit=limit + 1, before=after)
        data = [intents.intent_json(intent) for intent in found[:limit]]
        body = {
            "object": "list",
            "url": "/v1/payment_intents",
            "has_more": len(found) > limit,
            "data": data,
        }
        return Reply(status=200, body=body)

    def _confirm(self, call: Call) -> Reply:
        intent = self._intent(call)
        method_id = forms.text(call.form, "payment_method") or intent.payment_method
        if method_id is None:
            raise FormError("payment_method", "You must provide a payment method.")
        card, created = self._method(method_id, call, "payment_method")
        if call.decline is not None:
            card = dataclasses.replace(card, conduct=call.decline)
        strict = forms.flag(call.form, "error_on_requires_action")
        changed, decline = intents.confirm(intent, method_id, card, error_on_action=strict)
        if decline is not None:
            self._save(changed, call, "payment_failed")
            return error(
                "card_error",
                decline.message,
                status=402,
                began=True,
                code=decline.code,
                decline_code=decline.decline_code,
                charge=changed.charge,
                payment_intent=intents.intent_json(changed),
                payment_method=intents.method_json(method_id, card, created=created),
            )
        what = {
            "requires_capture": "amount_capturable_updated",
            "requires_action": "requires_action",
        }
        self._save(changed, call, what.get(changed.status, "succeeded"))
        return self._show(changed, call)

    def expire(self, intent_id: str, *, now: int) -> Intent | None:
        """Let an authorisation lapse as the card's bank does after some days; None: there is no such intent.

        Raises StateError when the intent holds no authorisation.
        """
        found = self._ledger.intent(intent_id)
        if found is None:
            return None
        changed = intents.expire(found, now=now)
        self._save(changed, Call(object_id=intent_id, form={}, now=now), "canceled")
        return changed

    def _capture(self, call: Call) -> Reply:
        amount = forms.integer(call.form, "amount_to_capture")
        changed = intents.capture(self._intent(call), amount)
        self._save(changed, call, "succeeded")
        return self._show(changed, call)

    def _cancel(self, call: Call) -> Reply:
        reason = forms.text(call.form, "cancellation_reason", limit=50)
        changed = intents.cancel(self._intent(call), reason, now=call.now)
        self._save(changed, call, "canceled")
        return self._show(changed, call)

    def _refund(self, call: Call) -> Reply:
        intent_id = forms.text(call.form, "payment_intent")
        charge = forms.text(call.form, "charge")
        if intent_id is None and charge is not None:
            intent_id = "pi_" + charge.removeprefix("ch_")
        intent = self._ledger.intent(intent_id or "")
        if intent is None:
            raise _MissingError("payment_intent", intent_id or "", "payment_intent")
        changed, made = intents.refund(
            intent,
            forms.integer(call.form, "amount"),
            forms.text(call.form, "reason", limit=50),
            refund_id="re_" + secrets.token_hex(12),
            now=call.now,
        )
        self._ledger.put_intent(changed)
        self._ledger.add_refund(made)
        return Reply(status=200, body=intents.refund_json(made))

    def _retrieve_refund(self, call: Call) -> Reply:
        found = self._ledger.refund(call.object_id)
        if found is None:
            raise _MissingError("refund", call.object_id, "intent")
        return Reply(status=200, body=intents.refund_json(found))

    def _intent(self, call: Call) -> Intent:
        found = self._ledger.intent(call.object_id)
        if found is None:
            raise _MissingError("payment_intent", call.object_id, "intent")
        return found

    def _show(self, intent: Intent, call: Call) -> Reply:
        wanted = call.form.get("expand")
        names = wanted.values() if isinstance(wanted, dict) else ()
        method = None
        if "payment_method" in names and intent.payment_method:
            card, created = self._method(intent.payment_method, call, "payment_method")
            method = intents.method_json(intent.payment_method, card, created=created)
        return Reply(status=200, body=intents.intent_json(intent, method=method))

    def _save(self, intent: Intent, call: Call, what: str) -> None:
        self._ledger.put_intent(intent)
        event = {
            "id": "evt_" + secrets.token_hex(12),
            "object": "event",
            "type": f"payment_intent.{what}",
            "api_version": self._api_version,
            "created": call.now,
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "data": {"object": intents.intent_json(intent)},
        }
        self._ledger.add_notice(msgspec.json.encode(event))
