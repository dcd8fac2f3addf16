SELECT call_sid, tenant_id, sealed, greenpin_id, trunk, node, started_at, answered_at, sealed_dialled,
       dialled_at, bridged_at, ended_at, call_type, dial_call_status, sip_cause, hangup_by, pin_attempts,
       recording_file, recording_ms, caller_media, callee_media
FROM calls WHERE tenant_id = $1 AND call_sid = $2
