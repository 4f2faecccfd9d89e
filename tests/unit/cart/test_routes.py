"""The cart serves exactly its rows of the public surface, and one call of checkout."""

import re

from doorbuster.cart.routes import CartRoutes
from doorbuster.cart.usecases import Carts, SalesBoard
from doorbuster.contracts import surface
from doorbuster.kit import web
from doorbuster.testing.carts import FakeCartStore, FakeMarket

ACCESS = {"anyone": web.AnyoneOrUser(), "buyer": web.Users()}


def test_the_routes_are_the_rows_of_the_surface() -> None:
    market = FakeMarket()
    carts = Carts(store=FakeCartStore(), catalogue=market, board=SalesBoard(market), stock=market)
    served = {
        (route.method, route.path, route.access)
        for route in CartRoutes(carts).table()
        if route.path.startswith("/v1/")
    }
    assert served == {
        (call.method, re.sub(r"[A-Z]", "_\\g<0>", call.path).lower(), ACCESS[call.access])
        for call in surface.CALLS
        if call.owner == "cart"
    }
