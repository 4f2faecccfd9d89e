"""Pools and sales as the operator sets them: each change one transaction under the locks of its products."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from doorbuster.contracts import control, events, internal, shopping
from doorbuster.inventory import domain
from doorbuster.kit import ids

from .pool import Database, sql

_TAKE_FENCE = """
INSERT INTO lease (namespace, name, fence, holder) VALUES ($1, $2, nextval('fence_number'), $3)
ON CONFLICT (namespace, name)
DO UPDATE SET fence = excluded.fence, holder = excluded.holder, granted_at = clock_timestamp()
RETURNING fence
"""
_ADD_PRODUCTS = """
INSERT INTO inventory (product_id, sku) SELECT * FROM unnest($1::text[], $2::text[]) ORDER BY 1
ON CONFLICT (product_id) DO NOTHING
"""
# Only after they are locked in their order: a row that a merchant made has no sku yet.
_NAME_PRODUCTS = """
UPDATE inventory SET sku = named.sku
FROM unnest($1::text[], $2::text[]) AS named (product_id, sku)
WHERE inventory.product_id = named.product_id AND inventory.sku IS NULL
"""
_LOCK_PRODUCTS = (
    "SELECT * FROM inventory WHERE product_id = ANY ($1) ORDER BY product_id FOR UPDATE"
)
# Also the other sales of these products: whether they are sold out may change with this one.
_LOCK_SALES = """
SELECT * FROM sale
WHERE sale_uid = $1 OR sale_uid IN (SELECT sale_uid FROM sale_item WHERE product_id = ANY ($2))
ORDER BY sale_uid FOR UPDATE
"""


class ControlStore:
    """Raises domain.ControlError for refusals and StoreAwayError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take_fence(self, request: control.FenceRequest) -> int:
        """Return a fence greater than all before; those of the same lease are stale from now on."""
        fence: int = await self._database.value(
            _TAKE_FENCE, request.lease_namespace, request.lease_name, request.holder
        )
        return fence

    async def put_sale(self, uid: str, gate: control.SaleGate) -> list[str]:
        """Store a gate; returns the products whose gate changed and whose epoch went up for it."""
        skus = {ids.product_id(item.sku): item.sku for item in gate.items}
        async with self._database.transaction() as connection:
            await _check_fence(connection, gate.fence)
            before = {
                row["product_id"]: row
                for row in await connection.fetch(
                    "SELECT * FROM sale_item WHERE sale_uid = $1", uid
                )
            }
            await connection.execute(_ADD_PRODUCTS, list(skus), list(skus.values()))
            products = sorted(skus.keys() | before.keys())
            await connection.fetch(_LOCK_PRODUCTS, products)
            await connection.execute(_NAME_PRODUCTS, list(skus), list(skus.values()))
            locked = await connection.fetch(_LOCK_SALES, uid, products)
            stored = {row["sale_uid"]: row for row in locked}.get(uid)
            domain.check_sale(_stored_sale(stored), gate)
            windows = await connection.fetch(sql("windows"), list(skus), uid)
            domain.check_overlap(
                gate,
                [
                    domain.Window(
                        sale=row["sale"],
                        product_id=row["product_id"],
                        open_at=row["open_at"],
                        close_at=row["close_at"],
                    )
                    for row in windows
                ],
            )
            await _write_sale(connection, uid, gate)
            changed = await _write_items(connection, uid, gate, before)
            if changed:
                await connection.execute(sql("bump_all"), changed)
                await connection.execute("SELECT note_sold_out($1)", changed)
        self._database.changes.of_products(changed)
        return changed

    async def put_pool(self, sku: str, spec: control.PoolSpec) -> list[str]:
        """Store a level; returns the product if its level changed and its epoch went up for it."""
        product_id = ids.product_id(sku)
        async with self._database.transaction() as connection:
            await _check_fence(connection, spec.fence)
            await connection.execute(_ADD_PRODUCTS, [product_id], [sku])
            (row,) = await connection.fetch(_LOCK_PRODUCTS, [product_id])
            await connection.execute(_NAME_PRODUCTS, [product_id], [sku])
            domain.check_pool(_stored_pool(row), spec)
            await connection.execute(
                sql("put_pool"),
                product_id,
                spec.capacity,
                spec.safety_stock,
                spec.owner_uid,
                spec.generation,
                spec.fence,
            )
            is_same = (row["total_qty"], row["safety_stock"]) == (spec.capacity, spec.safety_stock)
            if is_same:
                return []
            await connection.execute("SELECT note_sold_out($1)", [product_id])
        self._database.changes.of_products([product_id])
        return [product_id]

    async def put_level(self, product_id: str, total: int) -> bool:
        """Store how many units there are of a product without a pool; tells whether its epoch went up for it."""
        async with self._database.transaction() as connection:
            await connection.execute(_ADD_PRODUCTS, [product_id], [None])
            (row,) = await connection.fetch(_LOCK_PRODUCTS, [product_id])
            domain.check_level(_stored_pool(row), total)
            if row["total_qty"] == total:
                return False
            await connection.execute(sql("put_level"), product_id, total)
            await connection.execute("SELECT note_sold_out($1)", [product_id])
        self._database.changes.of_products([product_id])
        return True

    async def level(self, product_id: str) -> shopping.Stock | None:
        """Return the stock of a product; None when it never had any."""
        rows = await self._database.fetch(
            "SELECT * FROM inventory WHERE product_id = $1", product_id
        )
        if not rows:
            return None
        row = rows[0]
        return shopping.Stock(
            product_id=product_id,
            total=row["total_qty"],
            available=row["available_qty"],
            reserved=row["reserved_qty"],
            sold=row["sold_qty"],
            managed_by_pool=row["owner_uid"] is not None,
        )

    async def release_pool(self, sku: str, *, owner_uid: str, fence: int) -> None:
        """Let another owner have the stock; the units stay as they are. Nothing to do if it has none."""
        product_id = ids.product_id(sku)
        async with self._database.transaction() as connection:
            await _check_fence(connection, fence)
            rows = await connection.fetch(_LOCK_PRODUCTS, [product_id])
            if not rows or rows[0]["owner_uid"] is None:
                return
            if rows[0]["owner_uid"] != owner_uid:
                raise domain.ResourceConflictError(
                    f"the stock belongs to the pool {rows[0]['owner_uid']}"
                )
            await connection.execute(
                "UPDATE inventory SET owner_uid = NULL, generation = 0, revision = this_revision()"
                " WHERE product_id = $1",
                product_id,
            )

    async def sales(self, *, uid: str | None, since: int) -> list[list[Any]]:
        """Return the rows of sales, one list a sale, one row an item (see sql/sales.sql)."""
        rows = await self._database.fetch(sql("sales"), uid, since)
        return [list(group) for _, group in groupby(rows, key=lambda row: row["sale_uid"])]

    async def pools(self, *, sku: str | None, since: int) -> list[control.PoolState]:
        """Return pools."""
        rows = await self._database.fetch(sql("pools"), sku, since)
        return [
            control.PoolState(
                sku=row["sku"],
                product_id=row["product_id"],
                owner_uid=row["owner_uid"],
                generation=row["generation"],
                fence=row["fence"],
                capacity=row["total_qty"],
                safety_stock=row["safety_stock"],
                available=row["available_qty"],
                reserved=row["reserved_qty"],
                sold=row["sold_qty"],
                epoch=row["epoch"],
                bound_sales=list(row["bound_sales"]),
                revision=row["revision"],
            )
            for row in rows
        ]

    async def revision(self) -> tuple[int, Any]:
        """Return the revision from which a reader may go on, and the authority's time. Read it first."""
        (row,) = await self._database.fetch(sql("revision"))
        return row["revision"], row["server_time"]

    async def announced(self) -> internal.Sales:
        """Return the sales that are announced, open or closed within the last hour."""
        server_time = (await self.revision())[1]
        rows = await self._database.fetch(sql("announced"))
        views: list[internal.SaleView] = []
        for _, group in groupby(rows, key=lambda row: row["sale_uid"]):
            items = list(group)
            sale = items[0]
            server_time = sale["server_time"]
            views.append(
                internal.SaleView(
                    uid=sale["sale_uid"],
                    namespace=sale["namespace"],
                    name=sale["name"],
                    state=sale["state"],
                    strategy=sale["strategy"],
                    open_time=sale["open_at"],
                    close_time=sale["close_at"],
                    reservation_timeout_seconds=sale["hold_seconds"],
                    admit_per_second=sale["admit_per_second"],
                    items=[_item_view(row) for row in items],
                )
            )
        return internal.Sales(sales=views, server_time=server_time)


def allocated(row: Any) -> int:
    """Return a sale's share: as it was given, or for a whole pool all that it has, holds and sold."""
    if row["allocated"] is not None:
        return int(row["allocated"])
    return int(row["sellable"] + row["reserved_qty"] + row["sold_qty"])


def _item_view(row: Any) -> internal.SaleItemView:
    return internal.SaleItemView(
        product_id=row["product_id"],
        sku=row["sku"],
        price_minor=row["price_minor"],
        currency=row["currency"],
        per_user_limit=row["per_user_limit"],
        allocated=allocated(row),
        available=row["sellable"],
        reserved=row["reserved_qty"],
        sold=row["sold_qty"],
        epoch=row["epoch"],
    )


async def _check_fence(connection: Any, fence: int) -> None:
    current = await connection.fetchval("SELECT 1 FROM lease WHERE fence = $1 FOR SHARE", fence)
    if current is None:
        raise domain.StaleEpochError(f"fence {fence} is not the newest of its lease")


def _stored_sale(row: Any) -> domain.StoredSale | None:
    if row is None:
        return None
    return domain.StoredSale(
        namespace=row["namespace"],
        name=row["name"],
        generation=row["generation"],
        fence=row["fence"],
        state=row["state"],
    )


def _stored_pool(row: Any) -> domain.StoredPool:
    return domain.StoredPool(
        owner_uid=row["owner_uid"],
        generation=row["generation"],
        fence=row["fence"],
        reserved=row["reserved_qty"],
        sold=row["sold_qty"],
    )


async def _write_sale(connection: Any, uid: str, gate: control.SaleGate) -> None:
    await connection.execute(
        sql("upsert_sale"),
        uid,
        gate.namespace,
        gate.name,
        events.sale_topic(gate.namespace, gate.name),
        gate.generation,
        gate.fence,
        gate.state,
        gate.open_time,
        gate.close_time,
        gate.strategy,
        gate.reservation_timeout_seconds,
        gate.admit_per_second,
    )


async def _write_items(
    connection: Any, uid: str, gate: control.SaleGate, before: dict[str, Any]
) -> list[str]:
    """Write the items; returns the products for which something changed that buyers can feel."""
    changed: list[str] = []
    for position, item in enumerate(gate.items):
        product_id = ids.product_id(item.sku)
        wanted = {
            "price_minor": item.price_minor,
            "currency": item.currency,
            "per_user_limit": item.per_user_limit,
            "allocated": item.quantity,
            "open_at": gate.open_time,
            "close_at": gate.close_time,
            "strategy": gate.strategy,
            "state": gate.state,
            "hold_seconds": gate.reservation_timeout_seconds,
        }
        row = before.get(product_id)
        if row is None or any(row[name] != value for name, value in wanted.items()):
            changed.append(product_id)
        await connection.execute(
            sql("upsert_item"),
            uid,
            product_id,
            item.sku,
            position,
            *wanted.values(),
            gate.generation,
            gate.fence,
        )
    return changed + await _drop_items(connection, uid, before, kept={*_products(gate.items)})


def _products(items: Sequence[control.SaleItem]) -> list[str]:
    return [ids.product_id(item.sku) for item in items]


async def _drop_items(
    connection: Any, uid: str, before: dict[str, Any], *, kept: set[str]
) -> list[str]:
    dropped = [product_id for product_id in before if product_id not in kept]
    for product_id in dropped:
        row = await connection.fetchrow(
            "DELETE FROM sale_item WHERE sale_uid = $1 AND product_id = $2"
            " AND reserved_qty = 0 AND sold_qty = 0 RETURNING 1",
            uid,
            product_id,
        )
        if row is None:
            raise domain.ResourceConflictError(
                f"{before[product_id]['sku']} was sold in this sale and stays in it"
            )
    return dropped
