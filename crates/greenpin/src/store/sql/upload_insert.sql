INSERT INTO uploads (call_sid, node, file, due_at)
SELECT c.call_sid, c.node, c.recording_file, $1 FROM calls AS c WHERE c.call_sid = $2 AND c.recording_file IS NOT NULL
ON CONFLICT (call_sid) DO NOTHING
