UPDATE deliveries SET state = 'due', due_at = $1
WHERE endpoint_id = $2 AND queue = $3 AND state IN ('waiting', 'due') AND state = 'waiting'
  AND sequence = (SELECT MIN(d.sequence) FROM deliveries d
                  WHERE d.endpoint_id = $2 AND d.queue = $3 AND d.state IN ('waiting', 'due')
                    AND d.state = 'waiting')
  AND NOT EXISTS (SELECT 1 FROM deliveries d
                  WHERE d.endpoint_id = $2 AND d.queue = $3 AND d.state IN ('waiting', 'due') AND d.state = 'due')
