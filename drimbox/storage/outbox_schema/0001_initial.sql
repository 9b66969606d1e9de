-- What must not be lost and is in no image: the reports, what was said of exams and patients, what we owe the DMP and
-- what it holds. A database of its own, so that the index beside it stays disposable (docs/decisions/0007).
CREATE TABLE report (
  id INTEGER PRIMARY KEY,
  message_id TEXT NOT NULL,
  digest BLOB NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('current', 'replaced', 'cancelled')),
  fields BLOB NOT NULL,
  message BLOB NOT NULL,
  cda BLOB NOT NULL,
  arrived_at REAL NOT NULL,
  UNIQUE (message_id, digest)
);

-- What a report can be found by: `study:`, `doc:`, `num:`, `ipp:` and `ins:` with the value.
CREATE TABLE report_key (
  key TEXT NOT NULL,
  report_id INTEGER NOT NULL REFERENCES report,
  PRIMARY KEY (key, report_id)
) WITHOUT ROWID;

-- OMI^O23 and ADT^A40, as they came.
CREATE TABLE notice (
  id INTEGER PRIMARY KEY,
  message_id TEXT NOT NULL,
  digest BLOB NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('study', 'merge')),
  message BLOB NOT NULL,
  arrived_at REAL NOT NULL,
  UNIQUE (message_id, digest)
);

-- Exams that were taken back by their order: no image of theirs is published, until a notice or a report says otherwise.
CREATE TABLE cancelled_study (
  study_uid TEXT PRIMARY KEY,
  cancelled_at REAL NOT NULL
) WITHOUT ROWID;

-- Identifiers that became others by a merge: value and authority, as `value^authority`.
CREATE TABLE merged_patient (
  gone TEXT PRIMARY KEY,
  survivor TEXT NOT NULL,
  merged_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX merged_by_survivor ON merged_patient (survivor);

-- One row a submission. report_id: before it is frozen the report that caused it, if one did; then the report whose
-- identity speaks. ins: of the patient it is about. again: something is left to do for the study after it.
-- in_doubt: it was attempted, and the DMP did not say no.
CREATE TABLE job (
  id INTEGER PRIMARY KEY,
  study_uid TEXT NOT NULL,
  report_id INTEGER REFERENCES report,
  kind TEXT NOT NULL CHECK (kind IN ('publish', 'replace', 'update', 'withdraw')),
  state TEXT NOT NULL CHECK (state IN ('due', 'leased', 'frozen', 'done', 'parked', 'discarded')),
  cause TEXT NOT NULL DEFAULT '',
  attempts INTEGER NOT NULL DEFAULT 0,
  last_error TEXT NOT NULL DEFAULT '',
  next_try REAL NOT NULL,
  leased_until REAL NOT NULL DEFAULT 0,
  ins TEXT NOT NULL DEFAULT '',
  again INTEGER NOT NULL DEFAULT 0,
  in_doubt INTEGER NOT NULL DEFAULT 0,
  unique_id TEXT NOT NULL DEFAULT '',
  set_uid TEXT NOT NULL DEFAULT '',
  entry_uuid TEXT NOT NULL DEFAULT '',
  structure TEXT NOT NULL DEFAULT '',
  manifest BLOB,
  metadata BLOB,
  signature BLOB,
  created_at REAL NOT NULL,
  settled_at REAL
);
CREATE INDEX job_by_study ON job (study_uid, id);
CREATE INDEX job_open ON job (next_try) WHERE state IN ('due', 'leased', 'frozen');
CREATE INDEX job_by_document ON job (unique_id) WHERE unique_id <> '';
