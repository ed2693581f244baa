-- What audits of reuse found, one row a case and run. Of disagreements: the outcome in the columns that `attempt` has, and the
-- output as an `Output` message. `past_run` is null where the pass was known in another cache only. A case with a disagreement whose
-- `trusted_at` is null is not reused.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    test_case INTEGER NOT NULL REFERENCES test_case (id) ON DELETE CASCADE,
    run BLOB NOT NULL,
    at INTEGER NOT NULL,
    finding TEXT NOT NULL,
    past_run BLOB,
    outcome TEXT,
    passes INTEGER,
    code INTEGER,
    leaked INTEGER,
    exec_error TEXT,
    output BLOB,
    trusted_at INTEGER,
    UNIQUE (test_case, run)
) STRICT;

-- There are hardly any, and every run asks for them.
CREATE INDEX audit_open ON audit (test_case) WHERE finding = 'disagreed' AND trusted_at IS NULL;

PRAGMA user_version = 5;
