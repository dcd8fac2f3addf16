UPDATE deliveries SET due_at = $1 WHERE state = 'due' AND due_at > $1
