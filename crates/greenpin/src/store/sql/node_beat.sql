UPDATE nodes SET beat = beat + 1, seen_at = $1 WHERE node = $2 AND life = $3
