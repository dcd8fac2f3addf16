BEGIN; SELECT version, last_event, turns FROM writer_turn FOR UPDATE
