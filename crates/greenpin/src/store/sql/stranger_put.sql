INSERT INTO strangers (number_key, caller_key, wrong_tries, refusals, refused_until, updated_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (number_key, caller_key) DO UPDATE
SET wrong_tries = excluded.wrong_tries, refusals = excluded.refusals,
    refused_until = excluded.refused_until, updated_at = excluded.updated_at
