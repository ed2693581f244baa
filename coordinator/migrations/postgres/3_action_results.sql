-- The same schema as SQLite's version 3.
CREATE TABLE action_result (
    key BYTEA PRIMARY KEY,
    content BYTEA NOT NULL,
    used_at BIGINT NOT NULL
);

ALTER TABLE test_list RENAME COLUMN list TO content;

UPDATE thresh_schema SET version = 3;
