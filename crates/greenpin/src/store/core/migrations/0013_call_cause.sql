-- The reason for the result of a call, and its legs: the attempts to reach a number, and the Call-IDs, encrypted as JSON.
ALTER TABLE calls ADD COLUMN cause TEXT;
ALTER TABLE calls ADD COLUMN sealed_legs TEXT;
