-- Those that end in the same second lie in the order in which they were made: one more is written beside the last one.
DROP INDEX pins_counted;
CREATE INDEX pins_counted ON pins (number_key, active_until, greenpin_id) WHERE counted = 1;
