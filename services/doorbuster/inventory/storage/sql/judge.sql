-- A line of an order that got no permit: is there any hope? A row of the same order id wins over everything; it is
-- looked up in the same statement, so a buyer who owns a unit is never told that there is none. A line that comes
-- without an epoch is never stale.
WITH asked AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::text[], $6::bigint[])
        WITH ORDINALITY AS a(order_id, hash, product_id, qty, sale_uid, epoch, at)
), stock AS MATERIALIZED (
    SELECT * FROM sale_stock
    WHERE sale_uid IN (SELECT asked.sale_uid FROM asked)
      AND product_id IN (SELECT asked.product_id FROM asked)
)
SELECT CASE
           WHEN r.order_id IS NOT NULL THEN CASE
               WHEN r.request_hash <> asked.hash THEN 'KEY_REUSED'
               WHEN r.state = 'HELD' AND r.expires_at > clock_timestamp() THEN 'HELD'
               WHEN r.state IN ('PAYING', 'SOLD', 'RETURNED') THEN 'PAID'
               ELSE 'RELEASED'
           END
           WHEN stock.sale_uid IS NULL THEN 'UNKNOWN_PRODUCT'
           WHEN stock.state = 'Cancelled' OR stock.close_at <= clock_timestamp() THEN 'CLOSED'
           WHEN stock.state = 'Suspended' THEN 'SUSPENDED'
           WHEN stock.open_at > clock_timestamp() THEN 'NOT_OPEN'
           WHEN stock.potential < asked.qty THEN 'SOLD_OUT'
           WHEN stock.epoch <> asked.epoch THEN 'STALE_EPOCH'
           ELSE 'WAITING'
       END AS outcome,
       r.expires_at AS pay_by
FROM asked
LEFT JOIN reservation r ON r.order_id = asked.order_id
LEFT JOIN stock ON stock.sale_uid = asked.sale_uid AND stock.product_id = asked.product_id
ORDER BY asked.at
