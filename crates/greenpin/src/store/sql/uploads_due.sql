SELECT u.call_sid, u.file, u.tries, c.tenant_id FROM uploads AS u
LEFT JOIN calls AS c ON c.call_sid = u.call_sid AND c.recording_file = u.file
WHERE u.node = $1 AND u.due_at <= $2 ORDER BY u.due_at LIMIT $3
