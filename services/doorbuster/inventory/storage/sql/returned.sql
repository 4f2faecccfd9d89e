-- Locked in the order of their keys: a claim that ran out may be in two hands.
WITH mine AS (
    SELECT back.order_id, back.product_id
    FROM permit_return back
    JOIN unnest($1::text[], $2::text[]) AS done(order_id, product_id) USING (order_id, product_id)
    ORDER BY back.order_id, back.product_id FOR UPDATE OF back
)
DELETE FROM permit_return back USING mine
WHERE back.order_id = mine.order_id AND back.product_id = mine.product_id
RETURNING back.order_id
