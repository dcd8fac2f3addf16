INSERT INTO allocations (tenant_id, greenpin_id, number_key, sealed, record, custom_field, max_pin_attempts,
                         created_at, updated_at, expires_at, sequence)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
