INSERT INTO numbers (virtual_number, tenant_id, mode, pin_length, max_active,
                     strangers_left, strangers_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (virtual_number) DO NOTHING
