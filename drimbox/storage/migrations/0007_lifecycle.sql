-- Reports and jobs are in outbox.db (docs/decisions/0010). Here stay the studies it has yet to hear of (changes.py).
DROP TABLE job;
DROP TABLE report;

CREATE TABLE changed_study (
  study_uid TEXT PRIMARY KEY,
  at REAL NOT NULL
) WITHOUT ROWID;
