-- Instances lie in packs, one after the other (docs/decisions/0007): where in the file, and up to where the records of
-- a file have their rows. Rows of the layout before would speak of files that are no packs: there are none, since an
-- archive with files of that layout is refused.
ALTER TABLE instance ADD COLUMN offset INTEGER NOT NULL DEFAULT 0;

CREATE TABLE pack (
  file TEXT PRIMARY KEY,
  indexed_end INTEGER NOT NULL
) WITHOUT ROWID;

-- Records whose rows are gone and whose bytes are not yet.
CREATE TABLE removal (
  id INTEGER PRIMARY KEY,
  file TEXT NOT NULL,
  offset INTEGER NOT NULL,
  size_bytes INTEGER NOT NULL,
  UNIQUE (file, offset)
);

DROP TABLE set_aside;
CREATE TABLE set_aside (
  id INTEGER PRIMARY KEY,
  sop_uid TEXT NOT NULL,
  file TEXT NOT NULL,
  offset INTEGER NOT NULL,
  size_bytes INTEGER NOT NULL,
  digest BLOB NOT NULL,
  transfer_syntax TEXT NOT NULL,
  seen_at REAL NOT NULL,
  UNIQUE (sop_uid, digest, transfer_syntax)
);
