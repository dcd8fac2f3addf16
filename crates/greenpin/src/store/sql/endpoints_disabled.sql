SELECT CAST(COUNT(*) AS BIGINT) FROM endpoints WHERE disabled_at IS NOT NULL AND removed_at IS NULL
