-- Claims released units that are due to go back to Redis, oldest first: other copies leave them alone for a while.
WITH due AS (
    SELECT order_id, product_id FROM permit_return
    WHERE retry_at <= clock_timestamp()
    ORDER BY retry_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE permit_return back SET retry_at = clock_timestamp() + make_interval(secs => $2)
FROM due
WHERE back.order_id = due.order_id AND back.product_id = due.product_id
RETURNING back.order_id, back.product_id, back.epoch, back.qty,
       back.created_at < clock_timestamp() - interval '2 seconds' AS is_old,
       EXISTS (SELECT 1 FROM sale_item item
               WHERE item.sale_uid = gate_sale(back.product_id, clock_timestamp())
                 AND item.product_id = back.product_id AND item.strategy = 'Escrow') AS has_gate
