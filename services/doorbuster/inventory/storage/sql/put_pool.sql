UPDATE inventory
SET total_qty = $2, available_qty = $2 - reserved_qty - sold_qty, safety_stock = $3,
    owner_uid = $4, generation = $5, fence = $6,
    epoch = epoch + CASE WHEN total_qty <> $2 OR safety_stock <> $3 THEN 1 ELSE 0 END,
    version = version + 1, revision = this_revision(), updated_at = clock_timestamp()
WHERE product_id = $1
