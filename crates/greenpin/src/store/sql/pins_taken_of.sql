SELECT taken.pin_key
FROM unnest(string_to_array($3, ' ')) AS drawn (pin_key)
CROSS JOIN LATERAL (SELECT p.pin_key FROM pins p
                    WHERE p.number_key = $1 AND p.pin_key = drawn.pin_key COLLATE "C" AND p.free_at > $2
                    LIMIT 1) taken
