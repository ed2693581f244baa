-- What cases were seen to read, by the digest of that; and, by the key of a case without it, which of these there are.
CREATE TABLE seen (
    key BLOB PRIMARY KEY,
    content BLOB NOT NULL,
    used_at INTEGER NOT NULL
) STRICT;

PRAGMA user_version = 4;
