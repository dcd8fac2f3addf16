SELECT call_sid, tenant_id, sealed, greenpin_id, trunk, node, started_at, answered_at, sealed_dialled,
       dialled_at, bridged_at, ended_at, call_type, dial_call_status, sip_cause, hangup_by, pin_attempts,
       recording_file, recording_ms, caller_media, callee_media
FROM calls
WHERE tenant_id = $1 AND call_sid < $2 AND greenpin_id = $3
  AND ($4 = '' OR call_type = $4)
  AND ($5 = '' OR $5 = CASE WHEN ended_at IS NULL THEN 'active' ELSE 'ended' END)
  AND ($6 = '' OR number_key = $6)
  AND ($7 = '' OR caller_key = $7 OR dialled_key = $7)
  AND started_at >= $8 AND started_at < $9
ORDER BY call_sid DESC LIMIT $10
