-- Every order that owns units of each product, one more than asked at most: who counts them sees whether that was all.
SELECT wanted.product_id, ARRAY(
           SELECT line.order_id
           FROM reservation_line line JOIN reservation r ON r.order_id = line.order_id
           WHERE line.product_id = wanted.product_id
             AND r.state IN ('HELD', 'PAYING', 'SOLD', 'RETURNED')
           LIMIT $2 + 1
       ) AS owners
FROM unnest($1::text[]) AS wanted(product_id)
