INSERT INTO master_key (digest) SELECT $1 WHERE NOT EXISTS (SELECT 1 FROM master_key)
