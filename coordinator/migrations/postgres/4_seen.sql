-- The same schema as SQLite's version 4.
CREATE TABLE seen (
    key BYTEA PRIMARY KEY,
    content BYTEA NOT NULL,
    used_at BIGINT NOT NULL
);

UPDATE thresh_schema SET version = 4;
