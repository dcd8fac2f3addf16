UPDATE deliveries SET due_at = $1, claimed_by = NULL WHERE state = 'due' AND claimed_by = $2
