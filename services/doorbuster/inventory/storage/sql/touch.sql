WITH mine AS (
    SELECT product_id FROM inventory WHERE product_id = ANY ($1) ORDER BY product_id FOR UPDATE
)
UPDATE inventory pool
SET version = version + 1, revision = this_revision(), updated_at = clock_timestamp()
FROM mine WHERE pool.product_id = mine.product_id
