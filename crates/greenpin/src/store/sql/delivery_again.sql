INSERT INTO deliveries (tenant_id, event_id, endpoint_id, queue, sequence, state, due_at, created_at)
VALUES ($1, $2, $3, $4, $5,
        CASE WHEN EXISTS (SELECT 1 FROM deliveries d
                          WHERE d.endpoint_id = $3 AND d.queue = $4 AND d.state IN ('waiting', 'due'))
             THEN 'waiting' ELSE 'due' END,
        $6, $6)
ON CONFLICT (tenant_id, event_id, endpoint_id) DO UPDATE
SET state = CASE WHEN deliveries.state IN ('waiting', 'due') THEN deliveries.state ELSE excluded.state END,
    due_at = excluded.due_at, created_at = excluded.created_at, attempts = 0, finished_at = NULL, tried_at = NULL, claimed_by = NULL
