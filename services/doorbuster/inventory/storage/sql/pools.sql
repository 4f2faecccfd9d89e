SELECT pool.*, ARRAY(
           SELECT item.sale_uid FROM sale_item item
           WHERE item.product_id = pool.product_id AND item.state <> 'Cancelled'
             AND (item.close_at > clock_timestamp() OR item.reserved_qty > 0)
           ORDER BY item.open_at
       ) AS bound_sales
FROM inventory pool
WHERE pool.sku IS NOT NULL AND ($1::text IS NULL OR pool.sku = $1)
  AND (pool.revision > $2 OR EXISTS (
       SELECT 1 FROM sale_item item
       WHERE item.product_id = pool.product_id
         AND item.close_at BETWEEN clock_timestamp() - interval '5 minutes' AND clock_timestamp()))
ORDER BY pool.product_id
LIMIT 100000
