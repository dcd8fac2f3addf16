BEGIN; SELECT version, last_event FROM writer_turn FOR UPDATE
