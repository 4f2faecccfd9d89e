-- What anybody could reserve now: of the sale that is open, else what ordinary buyers may have (see stock.sql). One
-- snapshot, so the version belongs to the quantity.
SELECT pool.product_id, pool.version,
       CASE
           WHEN now.sale_uid IS NULL THEN greatest(0, pool.available_qty - pool.safety_stock
               - claimed_by_others(pool.product_id, NULL, NULL, NULL, clock_timestamp()))
           WHEN now.state = 'Suspended' THEN 0
           ELSE now.sellable
       END AS qty
FROM inventory pool
LEFT JOIN sale_stock now ON now.product_id = pool.product_id AND now.state <> 'Cancelled'
                        AND now.open_at <= clock_timestamp() AND now.close_at > clock_timestamp()
WHERE pool.product_id = ANY ($1::text[])
   OR pool.product_id IN (SELECT line.product_id FROM reservation_line line WHERE line.order_id = ANY ($2::text[]))
