-- The same schema as SQLite's version 5.
CREATE TABLE audit (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    test_case BIGINT NOT NULL REFERENCES test_case (id) ON DELETE CASCADE,
    run BYTEA NOT NULL,
    at BIGINT NOT NULL,
    finding TEXT NOT NULL,
    past_run BYTEA,
    outcome TEXT,
    passes BIGINT,
    code BIGINT,
    leaked BIGINT,
    exec_error TEXT,
    output BYTEA,
    trusted_at BIGINT,
    UNIQUE (test_case, run)
);

CREATE INDEX audit_open ON audit (test_case) WHERE finding = 'disagreed' AND trusted_at IS NULL;

UPDATE thresh_schema SET version = 5;
