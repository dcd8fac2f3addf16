INSERT INTO numbers (number_key, tenant_id, sealed, mode, pin_length, max_active,
                     strangers_left, strangers_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (number_key) DO NOTHING
