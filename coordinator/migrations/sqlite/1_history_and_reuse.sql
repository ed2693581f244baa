-- Times are microseconds since the Unix epoch, durations microseconds.

CREATE TABLE project (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE worker (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- One row a test case. `recent` holds its last durations, oldest first, as `took:worker,took:worker`: all
-- that an estimate needs, so that planning reads one row a case and no attempts.
CREATE TABLE test_case (
    id INTEGER PRIMARY KEY,
    project INTEGER NOT NULL REFERENCES project (id),
    binary_id TEXT NOT NULL,
    name TEXT NOT NULL,
    recent TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    last_at INTEGER NOT NULL DEFAULT 0,
    UNIQUE (project, binary_id, name)
) STRICT;

CREATE TABLE attempt (
    id INTEGER PRIMARY KEY,
    test_case INTEGER NOT NULL REFERENCES test_case (id) ON DELETE CASCADE,
    run BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    worker INTEGER NOT NULL REFERENCES worker (id),
    outcome TEXT NOT NULL,
    passes INTEGER NOT NULL,
    code INTEGER NOT NULL,
    leaked INTEGER NOT NULL,
    exec_error TEXT,
    started_at INTEGER NOT NULL,
    took INTEGER NOT NULL
) STRICT;

CREATE INDEX attempt_by_case ON attempt (test_case, id);

-- The parts of reuse keys, shared by all cases of one test binary. `digest` names the six parts together.
CREATE TABLE key_parts (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    code BLOB NOT NULL,
    arguments BLOB NOT NULL,
    environment BLOB NOT NULL,
    platform BLOB NOT NULL,
    files BLOB NOT NULL,
    programs BLOB NOT NULL
) STRICT;

-- Clean passes by case key.
CREATE TABLE pass (
    key BLOB PRIMARY KEY,
    test_case INTEGER NOT NULL REFERENCES test_case (id) ON DELETE CASCADE,
    parts INTEGER NOT NULL REFERENCES key_parts (id),
    run BLOB NOT NULL,
    at INTEGER NOT NULL,
    used_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX pass_by_case ON pass (test_case, at);
CREATE INDEX pass_by_parts ON pass (parts);

CREATE TABLE test_list (
    key BLOB PRIMARY KEY,
    list BLOB NOT NULL,
    used_at INTEGER NOT NULL
) STRICT;

CREATE TABLE run (
    id BLOB PRIMARY KEY,
    project INTEGER NOT NULL REFERENCES project (id),
    title TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    took INTEGER NOT NULL,
    reason TEXT NOT NULL,
    planned INTEGER NOT NULL,
    passed INTEGER NOT NULL,
    reused INTEGER NOT NULL,
    flaky INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    not_run INTEGER NOT NULL
) STRICT;

-- One row: when old rows were last removed.
CREATE TABLE upkeep (
    swept_at INTEGER NOT NULL
) STRICT;

INSERT INTO upkeep (swept_at) VALUES (0);

PRAGMA application_id = 1414025811;
PRAGMA user_version = 1;
