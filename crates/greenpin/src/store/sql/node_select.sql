SELECT life, beat, seen_at FROM nodes WHERE node = $1
