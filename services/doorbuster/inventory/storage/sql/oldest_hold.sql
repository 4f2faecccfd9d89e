-- Seconds since the pay-by of the hold that should have been released first; null when no hold is there at all.
SELECT extract(epoch FROM clock_timestamp() - min(expires_at))::float8 FROM reservation WHERE state = 'HELD'
