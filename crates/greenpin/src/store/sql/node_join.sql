INSERT INTO nodes (node, life, beat, seen_at) VALUES ($1, $2, 1, $3)
ON CONFLICT (node) DO UPDATE SET life = excluded.life, beat = 1, seen_at = excluded.seen_at
