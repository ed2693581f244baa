-- The same schema as SQLite's version 2, whose migrations say what the columns mean.
-- Times are microseconds since the Unix epoch, durations microseconds.

CREATE TABLE project (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

CREATE TABLE worker (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

CREATE TABLE test_case (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project BIGINT NOT NULL REFERENCES project (id),
    binary_id TEXT NOT NULL,
    name TEXT NOT NULL,
    recent TEXT NOT NULL DEFAULT '',
    attempts BIGINT NOT NULL DEFAULT 0,
    failures BIGINT NOT NULL DEFAULT 0,
    last_at BIGINT NOT NULL DEFAULT 0,
    runs TEXT NOT NULL DEFAULT '',
    flaky_runs BIGINT NOT NULL DEFAULT 0,
    UNIQUE (project, binary_id, name)
);

CREATE TABLE attempt (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    test_case BIGINT NOT NULL REFERENCES test_case (id) ON DELETE CASCADE,
    run BYTEA NOT NULL,
    attempt BIGINT NOT NULL,
    worker BIGINT NOT NULL REFERENCES worker (id),
    outcome TEXT NOT NULL,
    passes BIGINT NOT NULL,
    code BIGINT NOT NULL,
    leaked BIGINT NOT NULL,
    exec_error TEXT,
    started_at BIGINT NOT NULL,
    took BIGINT NOT NULL,
    granted_at BIGINT,
    reason TEXT NOT NULL DEFAULT '',
    lease BIGINT
);

CREATE INDEX attempt_by_case ON attempt (test_case, id);
CREATE UNIQUE INDEX attempt_by_run ON attempt (run, test_case, attempt, lease);

CREATE TABLE key_parts (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest BYTEA NOT NULL UNIQUE,
    code BYTEA NOT NULL,
    arguments BYTEA NOT NULL,
    environment BYTEA NOT NULL,
    platform BYTEA NOT NULL,
    files BYTEA NOT NULL,
    programs BYTEA NOT NULL
);

CREATE TABLE pass (
    key BYTEA PRIMARY KEY,
    test_case BIGINT NOT NULL REFERENCES test_case (id) ON DELETE CASCADE,
    parts BIGINT NOT NULL REFERENCES key_parts (id),
    run BYTEA NOT NULL,
    at BIGINT NOT NULL,
    used_at BIGINT NOT NULL
);

CREATE INDEX pass_by_case ON pass (test_case, at);
CREATE INDEX pass_by_parts ON pass (parts);

CREATE TABLE test_list (
    key BYTEA PRIMARY KEY,
    list BYTEA NOT NULL,
    used_at BIGINT NOT NULL
);

CREATE TABLE run (
    id BYTEA PRIMARY KEY,
    project BIGINT NOT NULL REFERENCES project (id),
    title TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    took BIGINT NOT NULL,
    reason TEXT NOT NULL,
    planned BIGINT NOT NULL,
    passed BIGINT NOT NULL,
    reused BIGINT NOT NULL,
    flaky BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    not_run BIGINT NOT NULL,
    quarantined BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX run_by_start ON run (started_at);

CREATE TABLE quarantine (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project BIGINT NOT NULL REFERENCES project (id),
    binary_id TEXT NOT NULL,
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    reason TEXT NOT NULL,
    since_at BIGINT NOT NULL,
    until_at BIGINT NOT NULL,
    UNIQUE (project, binary_id, name)
);

CREATE TABLE epoch (
    leader BIGINT NOT NULL
);

INSERT INTO epoch (leader) VALUES (0);

CREATE TABLE journal_run (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run BYTEA NOT NULL UNIQUE,
    project TEXT NOT NULL,
    submitted_at BIGINT NOT NULL,
    closed_at BIGINT,
    request BYTEA NOT NULL
);

CREATE TABLE journal_events (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    journal_run BIGINT NOT NULL REFERENCES journal_run (id),
    first_number BIGINT NOT NULL,
    events BIGINT NOT NULL,
    payload BYTEA NOT NULL,
    UNIQUE (journal_run, first_number)
);

CREATE TABLE upkeep (
    swept_at BIGINT NOT NULL
);

INSERT INTO upkeep (swept_at) VALUES (0);

-- One row: marks the database as ours, as SQLite's application_id and user_version do.
CREATE TABLE thresh_schema (
    version BIGINT NOT NULL
);

INSERT INTO thresh_schema (version) VALUES (2);
