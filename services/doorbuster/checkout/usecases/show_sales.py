"""Show sales to anybody, from the board, by the authority's clock."""

import math

from doorbuster.checkout.domain import sales
from doorbuster.contracts import api

from .board import SalesBoard


async def show_sale(board: SalesBoard, public_id: str) -> api.Sale | None:
    """Return the sale ``namespace.name``, None when there is none; raises ConnectionError."""
    sighting = await board.sighting()
    sale = sales.public_sales(sighting).get(public_id)
    return None if sale is None else sales.describe(sale, board.authority_time(sighting))


async def list_sales(board: SalesBoard, *, page: int, size: int) -> api.SaleList:
    """Return one page of the sales, earliest opening first; raises ConnectionError."""
    sighting = await board.sighting()
    now = board.authority_time(sighting)
    found = list(sales.public_sales(sighting).values())
    first = (page - 1) * size
    return api.SaleList(
        sales=[sales.describe(sale, now) for sale in found[first : first + size]],
        pagination=api.Pagination(
            page=page,
            size=size,
            total_pages=math.ceil(len(found) / size),
            total_items=len(found),
        ),
    )
