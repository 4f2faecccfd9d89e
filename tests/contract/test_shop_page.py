"""Every curl line of docs/shop.md is a call of the public surface, with a body and a query that it takes."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest

from devstack.layout import PROJECT
from doorbuster.contracts import surface
from doorbuster.kit import ids

VALUES = {
    "PRODUCT": ids.product_id("phone"),
    "NEW": ids.product_id("mug-blue"),
    "ORDER": ids.order_id("user", "key"),
    "CART": ids.new_id("cart"),
    "ADDRESS": ids.new_id("addr"),
    "CART_TOKEN": "t" * 32,
    "PRICE": "9.50",
    "DOORBUSTER_ADMIN_EMAIL": "admin@doorbuster.example",
    "DOORBUSTER_ADMIN_PASSWORD": "a long password",
}
_CALL = re.compile(
    r"curl -sN? (?:-X (?P<method>[A-Z]+) )?\"?\$SHOP(?P<url>[^\"\s]+)\"?"
    r"(?P<headers>(?: -H \"[^\"]*\")*)(?: -d (?:'(?P<plain>[^']*)'|\"(?P<quoted>(?:\\.|[^\"])*)\"))?"
)


@dataclass(frozen=True)
class Line:
    method: str
    url: str
    headers: str
    body: str | None


def filled(text: str) -> str:
    return re.sub(r"\$([A-Z_]+)", lambda found: VALUES[found[1]], text)


def lines() -> list[Line]:
    page = (Path(PROJECT) / "docs" / "shop.md").read_text()
    shell = "".join(re.findall(r"```bash\n(.*?)```", page, re.DOTALL))
    shell = re.sub(r"\s*\\\n\s*", " ", shell)
    found = [
        Line(
            method=call["method"] or "GET",
            url=filled(call["url"]),
            headers=call["headers"],
            body=call["plain"]
            or (filled(call["quoted"].replace('\\"', '"')) if call["quoted"] else None),
        )
        for call in _CALL.finditer(shell)
    ]
    assert len(found) == shell.count("curl ") > 30
    return found


def fits(pattern: str, path: str) -> bool:
    return re.fullmatch(re.sub(r"\{\w+\}", "[^/:]+", pattern), path) is not None


@pytest.mark.parametrize("line", lines(), ids=lambda line: f"{line.method} {line.url}")
def test_a_line_of_the_page_is_a_call_of_the_surface(line: Line) -> None:
    parts = urlsplit(line.url)
    same = [
        call
        for call in surface.CALLS
        if call.method == line.method and fits(call.path, parts.path)
    ]
    call = min(same, key=lambda found: found.path.count("{"))
    if call.access != "anyone":
        assert ('"$ADMIN"' if call.access in {"merchant", "admin"} else '"$ME"') in line.headers
    if call.body is not None:
        assert '"$JSON"' in line.headers
        msgspec.json.decode((line.body or "").encode(), type=call.body)
    else:
        assert line.body is None
    asked = dict(parse_qsl(parts.query))
    if asked:
        assert call.query is not None
        assert asked.keys() <= set(call.query.__struct_encode_fields__)
        msgspec.convert(asked, type=call.query, strict=False)
