INSERT INTO sale (sale_uid, namespace, name, topic, generation, fence, state, open_at, close_at,
                  strategy, hold_seconds, admit_per_second, revision)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, this_revision())
ON CONFLICT (sale_uid) DO UPDATE
SET generation = excluded.generation, fence = excluded.fence, state = excluded.state,
    open_at = excluded.open_at, close_at = excluded.close_at, strategy = excluded.strategy,
    hold_seconds = excluded.hold_seconds, admit_per_second = excluded.admit_per_second,
    revision = excluded.revision
