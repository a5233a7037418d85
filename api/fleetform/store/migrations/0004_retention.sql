-- What is old is found by its time, and what is the newest of its kind is kept.
CREATE INDEX event_at ON event (at);
CREATE INDEX event_reason ON event (subject, reason, seq);
CREATE INDEX rollout_started ON rollout (started_at);
CREATE INDEX endpoint_deleted ON endpoint (deleted_at) WHERE NOT alive;
