ALTER TABLE endpoint ADD COLUMN scaling jsonb;

CREATE TABLE rollout (
    id bigserial PRIMARY KEY,
    endpoint_uid uuid NOT NULL,
    generation bigint NOT NULL,
    started_at timestamptz NOT NULL,
    body jsonb NOT NULL,
    CONSTRAINT rollout_key UNIQUE (endpoint_uid, generation, started_at)
);
CREATE INDEX rollout_endpoint ON rollout (endpoint_uid, id);

CREATE TABLE start_time (
    id bigserial PRIMARY KEY,
    model_version text NOT NULL,
    version_uid uuid NOT NULL,
    instance_type text NOT NULL,
    at timestamptz NOT NULL,
    seconds double precision NOT NULL
);
CREATE INDEX start_time_version ON start_time (version_uid, instance_type, id);
