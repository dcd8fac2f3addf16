DELETE FROM parties WHERE tenant_id = $1 AND party_key = $2 AND greenpin_id = $3
