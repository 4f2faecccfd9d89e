-- A line of an order that got no permit: is there any hope? A row of the same order id wins over everything; it is
-- looked up in the same statement, so a buyer who owns a unit is never told that there is none. A line that comes
-- without an epoch is never stale. What the buyer has counts against his limit, but for holds that are over.
WITH asked AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::text[], $6::bigint[], $7::text[])
        WITH ORDINALITY AS a(order_id, hash, product_id, qty, sale_uid, epoch, user_id, at)
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
           WHEN mine.qty + asked.qty > stock.per_user_limit
                AND mine.qty + asked.qty - (
                    SELECT coalesce(sum(l.qty), 0)
                    FROM reservation over JOIN reservation_line l USING (order_id)
                    WHERE over.state = 'HELD' AND over.expires_at <= clock_timestamp()
                      AND over.user_id = asked.user_id
                      AND l.sale_uid = asked.sale_uid AND l.product_id = asked.product_id
                ) > stock.per_user_limit THEN 'USER_LIMIT'
           ELSE 'WAITING'
       END AS outcome,
       r.expires_at AS pay_by
FROM asked
LEFT JOIN reservation r ON r.order_id = asked.order_id
LEFT JOIN stock ON stock.sale_uid = asked.sale_uid AND stock.product_id = asked.product_id
LEFT JOIN user_sale_qty mine ON mine.sale_uid = asked.sale_uid AND mine.product_id = asked.product_id
                            AND mine.user_id = asked.user_id
ORDER BY asked.at
