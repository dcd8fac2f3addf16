INSERT INTO parties (tenant_id, party_key, greenpin_id) VALUES ($1, $2, $3)
