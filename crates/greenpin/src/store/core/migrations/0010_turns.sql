-- Counts the turns of writers: whoever finds his own last one still knows what he knew of numbers.
/* PostgreSQL:
ALTER TABLE writer_turn ADD COLUMN turns BIGINT NOT NULL DEFAULT 0;
:PostgreSQL */
