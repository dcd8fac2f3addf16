WITH RECURSIVE due (endpoint_id) AS (
    SELECT MIN(endpoint_id) FROM deliveries WHERE state = 'due'
    UNION ALL
    SELECT (SELECT MIN(d.endpoint_id) FROM deliveries d WHERE d.state = 'due' AND d.endpoint_id > due.endpoint_id)
    FROM due WHERE due.endpoint_id IS NOT NULL)
SELECT due.endpoint_id,
       (SELECT MIN(d.due_at) FROM deliveries d WHERE d.state = 'due' AND d.endpoint_id = due.endpoint_id)
FROM due JOIN endpoints e ON e.endpoint_id = due.endpoint_id
WHERE (e.paused = 0 AND e.disabled_at IS NULL) OR e.removed_at IS NOT NULL
