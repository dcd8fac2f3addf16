UPDATE calls SET ended_at = $1, answered_at = $2, dialled = $3, dialled_at = $4, bridged_at = $5,
       call_type = $6, dial_call_status = $7, sip_cause = $8, hangup_by = $9, pin_attempts = $10,
       recording_file = $11, recording_ms = $12, caller_media = $13, callee_media = $14
WHERE call_sid = $15 AND ended_at IS NULL
