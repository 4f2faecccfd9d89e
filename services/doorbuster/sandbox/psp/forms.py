"""Form bodies as Stripe's clients send them: ``card[number]=..&expand[0]=..`` becomes nested dictionaries."""

import re
from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qsl

MAX_FIELDS = 200
MAX_DEPTH = 4
_NAME = re.compile(r"^([A-Za-z0-9_]+)((?:\[[A-Za-z0-9_.\- ]*\])*)$")
_PART = re.compile(r"\[([^\]]*)\]")

Form = dict[str, Any]


class FormError(Exception):
    """The form cannot be understood; ``param`` names the field."""

    def __init__(self, param: str, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


def parse(raw: str) -> Form:
    """Return the nested form; lists become dictionaries by index. Raises FormError."""
    try:
        pairs = parse_qsl(raw, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise FormError("", "Too many parameters.") from error
    form: Form = {}
    for name, value in pairs:
        _put(form, name, value)
    return form


def _put(form: Form, name: str, value: str) -> None:
    match = _NAME.match(name)
    if match is None:
        raise FormError(name[:80], "Invalid parameter name.")
    path = [match[1], *_PART.findall(match[2])]
    if len(path) > MAX_DEPTH:
        raise FormError(name[:80], "Parameters are nested too deeply.")
    place = form
    for part in path[:-1]:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise FormError(name[:80], "Invalid hash.")
    last = path[-1] or str(len(place))
    if last in place:
        raise FormError(name[:80], "A parameter was given twice.")
    place[last] = value


def require_known(form: Form, names: Collection[str], within: str = "") -> None:
    """Raise FormError for a field that is none of ``names``, as Stripe does."""
    for name in form:
        if name not in names:
            param = f"{within}[{name}]" if within else name
            raise FormError(param, f"Received unknown parameter: {param}", "parameter_unknown")


def text(form: Form, name: str, *, limit: int = 500) -> str | None:
    """Return one text field, None when absent; raises FormError."""
    value = form.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > limit or "\x00" in value:
        raise FormError(name, f"Invalid string: {name}.")
    return value


def integer(form: Form, name: str) -> int | None:
    """Return one whole number, None when absent; raises FormError."""
    value = text(form, name, limit=12)
    if value is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,11}", value):
        raise FormError(name, f"Invalid integer: {name}.")
    return int(value)


def flag(form: Form, name: str) -> bool:
    """Return one boolean, false when absent; raises FormError."""
    value = text(form, name, limit=5)
    if value not in (None, "true", "false"):
        raise FormError(name, f"Invalid boolean: {name}.")
    return value == "true"


def mapping(form: Form, name: str, *, limit: int = 50) -> dict[str, str]:
    """Return a flat dictionary of texts, empty when absent; raises FormError."""
    value = form.get(name)
    if value is None or value == "":
        return {}
    flat = isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
    if (
        not flat
        or len(value) > limit
        or any(len(k) > 40 or len(v) > 500 for k, v in value.items())
    ):
        raise FormError(name, f"Invalid hash: {name}.")
    return dict(value)
