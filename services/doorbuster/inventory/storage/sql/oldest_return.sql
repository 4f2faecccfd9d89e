-- Seconds since the oldest release whose permits are not back; null when all are.
SELECT extract(epoch FROM clock_timestamp() - min(created_at))::float8 FROM permit_return
