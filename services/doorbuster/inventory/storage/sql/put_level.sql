UPDATE inventory
SET total_qty = $2, available_qty = $2 - reserved_qty - sold_qty,
    epoch = epoch + 1, version = version + 1, revision = this_revision(), updated_at = clock_timestamp()
WHERE product_id = $1
