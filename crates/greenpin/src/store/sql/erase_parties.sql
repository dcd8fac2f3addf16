DELETE FROM parties WHERE tenant_id = $1
AND (party_key, greenpin_id) IN
    (SELECT p.party_key, p.greenpin_id FROM parties p WHERE p.tenant_id = $1 LIMIT $2)
