SELECT sale.*, clock_timestamp() AS server_time,
       item.product_id, item.sku, item.price_minor, item.currency, item.per_user_limit, item.allocated,
       item.reserved_qty, item.sold_qty, item.epoch, item.sellable
FROM sale
JOIN sale_stock item USING (sale_uid)
WHERE sale.close_at > clock_timestamp() - interval '1 hour'
ORDER BY sale.open_at, sale.sale_uid, item.position
LIMIT 10000
