UPDATE inventory
SET epoch = epoch + 1, version = version + 1, revision = this_revision(), updated_at = clock_timestamp()
WHERE product_id = ANY ($1)
