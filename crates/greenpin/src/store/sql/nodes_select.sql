SELECT node, life, beat, seen_at FROM nodes ORDER BY node
