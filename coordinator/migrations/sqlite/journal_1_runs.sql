-- The journal of runs that go on: a file of its own, so that it never waits for the history to be written.

PRAGMA application_id = 1414025811;

-- One row: the number of the coordinator that leads, or led last.
CREATE TABLE epoch (
    leader INTEGER NOT NULL
) STRICT;

INSERT INTO epoch (leader) VALUES (0);

-- Runs as they were submitted, and their events: all that a coordinator needs to carry a run on.
CREATE TABLE journal_run (
    id INTEGER PRIMARY KEY,
    run BLOB NOT NULL UNIQUE,
    project TEXT NOT NULL,
    submitted_at INTEGER NOT NULL,
    closed_at INTEGER,
    request BLOB NOT NULL
) STRICT;

CREATE TABLE journal_events (
    id INTEGER PRIMARY KEY,
    journal_run INTEGER NOT NULL REFERENCES journal_run (id),
    first_number INTEGER NOT NULL,
    events INTEGER NOT NULL,
    payload BLOB NOT NULL,
    UNIQUE (journal_run, first_number)
) STRICT;

PRAGMA user_version = 1;
