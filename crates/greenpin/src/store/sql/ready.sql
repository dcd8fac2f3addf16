SELECT COUNT(*) FROM schema_version
