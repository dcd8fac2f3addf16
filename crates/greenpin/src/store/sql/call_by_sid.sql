SELECT call_sid, tenant_id, virtual_number, greenpin_id, caller, trunk, node, started_at, answered_at, dialled,
       dialled_at, bridged_at, ended_at, call_type, dial_call_status, sip_cause, hangup_by, pin_attempts,
       recording_file, recording_ms, caller_media, callee_media
FROM calls WHERE call_sid = $1
