UPDATE permit_return back SET retry_at = clock_timestamp() + interval '1 second'
FROM unnest($1::text[], $2::text[]) AS later(order_id, product_id)
WHERE back.order_id = later.order_id AND back.product_id = later.product_id
