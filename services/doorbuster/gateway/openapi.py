"""The OpenAPI 3.1 document and the page that shows it, both made from the table of public calls."""

import html
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from doorbuster.contracts import api, surface

from . import dialect

_REFERENCES = "#/components/schemas/{name}"
_NAMES = re.compile(r"\{(\w+)\}")
_ID_PREFIXES = {
    "productId": "prod",
    "orderId": "order",
    "addressId": "addr",
    "imageId": "img",
}
_PATTERNS = {
    "saleId": r"^[a-z0-9-]+\.[a-z0-9.-]+$",
    "code": r"^[A-Za-z0-9][A-Za-z0-9_-]{1,31}$",
}
_HEADERS: Mapping[surface.Header, tuple[bool, str, dict[str, Any]]] = {
    "Idempotency-Key": (
        False,
        "Names this attempt: a repetition with the same key and body gets the same answer.",
        {"type": "string", "minLength": 1, "maxLength": 200, "pattern": r"^[\x21-\x7e]+$"},
    ),
    "If-Match": (
        True,
        "The ETag of the version that you read.",
        {"type": "string"},
    ),
    "X-Cart-Token": (
        False,
        "The cart of somebody who has not logged in; ignored with an access token.",
        {"type": "string"},
    ),
    "Stripe-Signature": (
        True,
        "The provider's signature over the body.",
        {"type": "string", "pattern": r"^t=[0-9]+,v1=[0-9a-f]{64}$"},
    ),
}
_Shapes = Mapping[Any, dict[str, Any]]
_EVERYWHERE: surface.Codes = ((429, "RATE_LIMITED"), (503, "UNAVAILABLE"))
_WITH_BODY: surface.Codes = (
    *((400, "MALFORMED"), (408, "REQUEST_TIMEOUT"), (413, "BODY_TOO_LARGE")),
    *((415, "UNSUPPORTED_MEDIA_TYPE"), (422, "INVALID")),
)
_MEANINGS = {
    400: "The request cannot be parsed",
    401: "Nobody is signed in, or the token is no good",
    403: "Not allowed",
    404: "There is nothing here, or it is somebody else's",
    408: "The body did not arrive in time",
    409: "Not in this state of things",
    412: "Somebody else changed it",
    413: "The body is too large",
    415: "The body must be application/json",
    422: "The request is not valid",
    428: "Say which version you mean",
    429: "Too many requests",
    503: "A part of the shop does not answer",
}


def document(
    calls: Iterable[surface.Call] = surface.CALLS, *, server: str = "/"
) -> dict[str, Any]:
    """Return the document of ``/v1`` and of the short dialect ``/api``; ``server`` is its base address."""
    rows = [*calls, *dialect.surface_calls()]
    types = {kind for call in rows for kind in (call.body, call.answer) if kind is not None}
    ordered = [api.Problem, *sorted(types - {api.Problem}, key=repr)]
    found, components = msgspec.json.schema_components(ordered, ref_template=_REFERENCES)
    shapes = dict(zip(ordered, found, strict=True))
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for call in rows:
        paths[call.path][call.method.lower()] = _operation(call, shapes)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Doorbuster",
            "version": "1",
            "description": (
                "A shop for the moment when a thousand people want five phones. Errors are RFC 9457 problems "
                "with a stable `code`. Money is a JSON number with the currency's own number of decimals."
            ),
        },
        "servers": [{"url": server}],
        "paths": dict(paths),
        "components": {
            "schemas": _with_numbers(components),
            "securitySchemes": {
                "session": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
    }


def _operation(call: surface.Call, shapes: _Shapes) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(call),
        "summary": call.summary,
        "tags": [call.owner],
        "parameters": [*_path_parameters(call), *_query_parameters(call), *_headers(call)],
        "responses": _responses(call, shapes),
    }
    notes = []
    if call.access in ("merchant", "admin"):
        notes.append(f"Needs the role {call.access}.")
    if call.owned:
        notes.append("Of what belongs to somebody else it says that there is no such thing.")
    if notes:
        operation["description"] = " ".join(notes)
    if call.access != "anyone":
        operation["security"] = [{"session": []}]
    elif "X-Cart-Token" in call.headers:
        operation["security"] = [{}, {"session": []}]
    if call.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": shapes[call.body]}},
        }
    return operation


def _operation_id(call: surface.Call) -> str:
    words = re.findall(r"\w+", _NAMES.sub(r"by_\1", call.path.replace("-", "_").replace(".", "_")))
    return "_".join([call.method.lower(), *words])


def _path_parameters(call: surface.Call) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": _path_schema(name)}
        for name in _NAMES.findall(call.path)
    ]


def _path_schema(name: str) -> dict[str, Any]:
    prefix = _ID_PREFIXES.get(name)
    pattern = f"^{prefix}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$" if prefix else _PATTERNS[name]
    return {"type": "string", "pattern": pattern}


def _query_parameters(call: surface.Call) -> list[dict[str, Any]]:
    if call.query is None:
        return []
    (_,), schemas = msgspec.json.schema_components([call.query], ref_template=_REFERENCES)
    schema = _with_numbers(schemas)[call.query.__name__]
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _given(what)}
        for name, what in schema["properties"].items()
    ]


def _given(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter that is there: none is ever null, it is left out instead."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    if rest.get("default", "") is None:
        del rest["default"]
    return rest | kinds[0] if len(kinds) == 1 else rest | ({"anyOf": kinds} if kinds else {})


def _headers(call: surface.Call) -> list[dict[str, Any]]:
    found = []
    for name in call.headers:
        required, description, schema = _HEADERS[name]
        found.append(
            {
                "name": name,
                "in": "header",
                "required": required,
                "description": description,
                "schema": schema,
            }
        )
    return found


def _responses(call: surface.Call, shapes: _Shapes) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "Done"}
    if call.answer is not None:
        success["content"] = {call.media_type: {"schema": shapes[call.answer]}}
    elif call.status == 200:
        success["content"] = {call.media_type: {}}
    responses = {str(call.status): success}
    for status, codes in sorted(_problems(call).items()):
        responses[str(status)] = _problem(status, sorted(codes), shapes[api.Problem])
    return responses


def _problems(call: surface.Call) -> Mapping[int, set[str]]:
    codes: dict[int, set[str]] = defaultdict(set)
    own = list(call.codes) + list(_EVERYWHERE)
    if call.body is not None or "Stripe-Signature" in call.headers:
        own += _WITH_BODY
    if call.query is not None or "Idempotency-Key" in call.headers:
        own.append((422, "INVALID"))
    if "{" in call.path:
        own.append((404, "NOT_FOUND"))
    if call.access != "anyone" or "X-Cart-Token" in call.headers:
        own.append((401, "UNAUTHENTICATED"))
    if call.access in ("merchant", "admin"):
        own.append((403, "FORBIDDEN"))
    for status, code in own:
        codes[status].add(code)
    return codes


def _problem(status: int, codes: list[str], shape: dict[str, Any]) -> dict[str, Any]:
    schema = {
        "allOf": [
            shape,
            {"type": "object", "properties": {"code": {"enum": codes}}},
        ]
    }
    return {
        "description": f"{_MEANINGS[status]}: {', '.join(codes)}",
        "content": {"application/problem+json": {"schema": schema}},
    }


def _with_numbers(schema: Any) -> Any:
    """Return the schema with money as what it is on the wire; msgspec describes decimals as text."""
    if isinstance(schema, Mapping):
        if schema.get("format") == "decimal":
            rest = {
                name: value for name, value in schema.items() if name not in ("type", "format")
            }
            return rest | {"type": "number", "minimum": 0, "maximum": api.MAX_AMOUNT}
        return {name: _with_numbers(value) for name, value in schema.items()}
    if isinstance(schema, list):
        return [_with_numbers(value) for value in schema]
    return schema


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Doorbuster API</title><style>
:root{{color-scheme:light dark}}
body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}
h2{{margin-top:2.5rem;text-transform:capitalize}} summary{{cursor:pointer;padding:.3rem 0}}
summary b{{display:inline-block;min-width:4.5rem}}
table{{border-collapse:collapse;margin:.5rem 0 1rem}}
td,th{{border:1px solid #8886;padding:.2rem .6rem;text-align:left;vertical-align:top}}
</style></head><body><h1>Doorbuster API</h1><p>{description}</p>
<p>For programs: <a href="/openapi.json">/openapi.json</a> (OpenAPI 3.1).</p>{sections}</body></html>
"""


def page(described: Mapping[str, Any]) -> str:
    """Return the document as one HTML page that needs nothing else."""
    by_tag: dict[str, list[str]] = defaultdict(list)
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            by_tag[operation["tags"][0]].append(_entry(path, method, operation))
    sections = "".join(
        f"<h2>{html.escape(tag)}</h2>{''.join(entries)}" for tag, entries in by_tag.items()
    )
    return _PAGE.format(
        description=html.escape(described["info"]["description"]), sections=sections
    )


def _entry(path: str, method: str, operation: Mapping[str, Any]) -> str:
    rows = [
        _row(f"{parameter['name']} ({parameter['in']})", _words(parameter["schema"]))
        for parameter in operation["parameters"]
    ]
    if "requestBody" in operation:
        rows.append(
            _row("body", _words(operation["requestBody"]["content"]["application/json"]["schema"]))
        )
    for status, response in operation["responses"].items():
        shown = [
            _words(content.get("schema", {})) for content in response.get("content", {}).values()
        ]
        meaning = response["description"] if int(status) >= 400 else " ".join(shown) or "no body"
        rows.append(_row(status, meaning))
    return (
        f"<details><summary><b>{method.upper()}</b> <code>{html.escape(path)}</code> "
        f"{html.escape(operation['summary'])}</summary><p>{html.escape(operation.get('description', ''))}</p>"
        f"<table>{''.join(rows)}</table></details>"
    )


def _row(name: str, text: str) -> str:
    return f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>"


def _words(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    kind = schema.get("type", "")
    return " ".join(filter(None, [str(kind), str(schema.get("pattern", ""))]))
