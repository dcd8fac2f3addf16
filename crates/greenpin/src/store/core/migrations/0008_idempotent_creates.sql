-- What a request with this key has made, written with it: a crash before the answer was kept makes nothing twice.
ALTER TABLE idempotency_keys ADD COLUMN greenpin_id TEXT;
