-- Seconds since the oldest pin; null when nothing is being paid.
SELECT extract(epoch FROM clock_timestamp() - min(coalesce(pinned_at, created_at)))::float8
FROM reservation WHERE state = 'PAYING'
