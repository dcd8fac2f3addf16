SELECT COUNT(*) FROM uploads WHERE node = $1
