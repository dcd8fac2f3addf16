SELECT MIN(d.due_at) FROM deliveries d WHERE d.state = 'due'
