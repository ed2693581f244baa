-- Replay, quarantine, flake rates.

-- When and why an attempt's case was granted; `lease` names the shard within its coordinator's life. All are
-- null where nobody noted them.
ALTER TABLE attempt ADD COLUMN granted_at INTEGER;
ALTER TABLE attempt ADD COLUMN reason TEXT NOT NULL DEFAULT '';
ALTER TABLE attempt ADD COLUMN lease INTEGER;

-- Serves replay, and keeps an attempt that is recorded twice from counting twice.
CREATE UNIQUE INDEX attempt_by_run ON attempt (run, test_case, attempt, lease);

-- `runs` holds the case's last runs, oldest first, as nine letters each: eight hexadecimal digits of the run's
-- id and `p` (passed), `f` (failed) or `k` (flaky: both). `flaky_runs` counts the flaky ones for ever.
ALTER TABLE test_case ADD COLUMN runs TEXT NOT NULL DEFAULT '';
ALTER TABLE test_case ADD COLUMN flaky_runs INTEGER NOT NULL DEFAULT 0;

ALTER TABLE run ADD COLUMN quarantined INTEGER NOT NULL DEFAULT 0;
CREATE INDEX run_by_start ON run (started_at);

CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY,
    project INTEGER NOT NULL REFERENCES project (id),
    binary_id TEXT NOT NULL,
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    reason TEXT NOT NULL,
    since_at INTEGER NOT NULL,
    until_at INTEGER NOT NULL,
    UNIQUE (project, binary_id, name)
) STRICT;

PRAGMA user_version = 2;
