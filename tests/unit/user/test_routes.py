"""The user service serves exactly its rows of the public surface; the inner calls name their callers."""

import re
from typing import Any, cast

from doorbuster.contracts import surface
from doorbuster.kit import web
from doorbuster.user.routes import routes

ACCESS = {"anyone": web.Public(), "buyer": web.Users()}
TABLE = routes(cast(Any, None), cast(Any, None), lambda: b"")


def test_the_routes_are_the_rows_of_the_surface() -> None:
    served = {(one.method, one.path, one.access) for one in TABLE if "internal" not in one.path}
    assert served == {
        (call.method, re.sub(r"[A-Z]", "_\\g<0>", call.path).lower(), ACCESS[call.access])
        for call in surface.CALLS
        if call.owner == "user"
    }


def test_each_inner_call_has_one_caller() -> None:
    callers = {
        one.path.rpartition("{user_id}")[2]: one.access for one in TABLE if "internal" in one.path
    }
    assert callers == {
        "/contact": web.callers("notification"),
        "/author": web.callers("product"),
        "/addresses/{address_id}": web.callers("checkout"),
    }
