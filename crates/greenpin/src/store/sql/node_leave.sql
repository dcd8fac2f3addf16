DELETE FROM nodes WHERE node = $1 AND life = $2
