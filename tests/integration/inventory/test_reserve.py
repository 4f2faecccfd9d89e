"""Reserve on the real PostgreSQL and Redis."""

import asyncio


async def test_smoke(shop, sku):
    await shop.pool(sku, 5)
    state = await shop.sale(sku)
    assert state.armed, state
    result = await shop.buy(sku, "order_1")
    assert result.outcome == "HELD"
    assert await shop.pin("order_1") == "PINNED"
