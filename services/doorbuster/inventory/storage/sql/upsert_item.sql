INSERT INTO sale_item (sale_uid, product_id, sku, position, price_minor, currency, per_user_limit,
                       allocated, open_at, close_at, strategy, state, hold_seconds, generation, fence, revision)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, this_revision())
ON CONFLICT (sale_uid, product_id) DO UPDATE
SET position = excluded.position, price_minor = excluded.price_minor, currency = excluded.currency,
    per_user_limit = excluded.per_user_limit, allocated = excluded.allocated,
    open_at = excluded.open_at, close_at = excluded.close_at, strategy = excluded.strategy,
    state = excluded.state, hold_seconds = excluded.hold_seconds,
    generation = excluded.generation, fence = excluded.fence, revision = excluded.revision
