-- All transactions up to this id are over, so a reader who goes on from here misses nothing.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1 AS revision, clock_timestamp() AS server_time
