SELECT known.pin_key, known.free_at
FROM unnest(string_to_array($2, ' ')) AS drawn (pin_key)
CROSS JOIN LATERAL (SELECT p.pin_key, p.free_at FROM pins p
                    WHERE p.number_key = $1 AND p.pin_key = drawn.pin_key COLLATE "C"
                    LIMIT 1) known
