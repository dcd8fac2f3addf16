UPDATE calls SET ended_at = $1, answered_at = $2, dialled_key = $3, sealed_dialled = $4, dialled_at = $5,
       bridged_at = $6, call_type = $7, dial_call_status = $8, sip_cause = $9, hangup_by = $10, pin_attempts = $11,
       recording_file = $12, recording_ms = $13, caller_media = $14, callee_media = $15
WHERE call_sid = $16 AND ended_at IS NULL
