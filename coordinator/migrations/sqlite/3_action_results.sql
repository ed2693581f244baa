-- What actions of the Remote Execution API came to. `key` hashes whose they are (instance and trust) and the action's
-- digest; `content` is an ActionResult.
CREATE TABLE action_result (
    key BLOB PRIMARY KEY,
    content BLOB NOT NULL,
    used_at INTEGER NOT NULL
) STRICT;

ALTER TABLE test_list RENAME COLUMN list TO content;

PRAGMA user_version = 3;
