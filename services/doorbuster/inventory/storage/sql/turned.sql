-- Products of which a sale has opened or closed since their rows last changed: what is available changed by time alone.
-- Of the last hour: what is older no cache remembers.
SELECT item.product_id, extract(epoch FROM clock_timestamp() - min(turn.at))::float8 AS seconds
FROM sale_item item
JOIN inventory pool USING (product_id)
CROSS JOIN LATERAL (VALUES (item.open_at), (item.close_at)) AS turn(at)
WHERE item.state <> 'Cancelled' AND item.close_at > clock_timestamp() - interval '1 hour'
  AND turn.at <= clock_timestamp() AND pool.updated_at < turn.at
GROUP BY item.product_id
