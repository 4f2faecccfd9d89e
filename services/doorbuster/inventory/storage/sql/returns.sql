SELECT back.order_id, back.product_id, back.epoch, back.qty,
       back.created_at < clock_timestamp() - interval '2 seconds' AS is_old,
       EXISTS (SELECT 1 FROM sale_item item
               WHERE item.sale_uid = gate_sale(back.product_id, clock_timestamp())
                 AND item.product_id = back.product_id AND item.strategy = 'Escrow') AS has_gate
FROM permit_return back
WHERE back.retry_at <= clock_timestamp()
ORDER BY back.retry_at LIMIT $1
