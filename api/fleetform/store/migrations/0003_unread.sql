-- What nobody reads: a new leader looks at every endpoint, and gateways count their snapshots by epoch and number.
ALTER TABLE endpoint DROP COLUMN next_at, DROP COLUMN retries;
DROP TABLE change;
