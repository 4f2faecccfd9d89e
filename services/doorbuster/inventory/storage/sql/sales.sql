-- Sales with their counters. Those of the last day are always answered: what changes with time alone
-- (armed, drained) has no revision.
SELECT sale.*, clock_timestamp() AS server_time,
       item.product_id, item.sku, item.price_minor, item.currency, item.per_user_limit, item.allocated,
       item.reserved_qty, item.sold_qty, item.epoch, item.sellable,
       sale.close_at <= clock_timestamp() OR sale.state = 'Cancelled' AS is_over,
       NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.topic = sale.topic) AS is_outbox_empty
FROM sale
JOIN sale_stock item USING (sale_uid)
WHERE ($1::text IS NULL OR sale.sale_uid = $1)
  AND (sale.close_at > clock_timestamp() - interval '1 day'
       OR sale.revision > $2 OR item.revision > $2)
ORDER BY sale.open_at DESC, sale.sale_uid, item.position
LIMIT 100000
