DELETE FROM permit_return back USING unnest($1::text[], $2::text[]) AS done(order_id, product_id)
WHERE back.order_id = done.order_id AND back.product_id = done.product_id
