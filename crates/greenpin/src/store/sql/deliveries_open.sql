SELECT CAST(COUNT(*) AS BIGINT) FROM deliveries WHERE state IN ('waiting', 'due')
