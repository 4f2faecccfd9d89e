SELECT sale.namespace || '/' || sale.name AS sale, item.product_id, item.open_at, item.close_at
FROM sale_item item JOIN sale USING (sale_uid)
WHERE item.product_id = ANY ($1) AND item.sale_uid <> $2 AND item.state <> 'Cancelled'
ORDER BY item.open_at
