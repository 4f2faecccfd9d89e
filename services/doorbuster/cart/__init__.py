"""The carts, on PostgreSQL; never a price in them."""
