-- Study, series and instance: what queries match (columns, as match.py folds them) and what they answer (attributes,
-- DICOM JSON). The index is disposable: the files say everything in these three tables.
CREATE TABLE study (
  study_uid TEXT PRIMARY KEY,
  patient_id TEXT NOT NULL DEFAULT '',
  study_date TEXT NOT NULL DEFAULT '',
  accession_number TEXT NOT NULL DEFAULT '',
  study_id TEXT NOT NULL DEFAULT '',
  attributes BLOB NOT NULL,
  changed_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX study_by_date ON study (study_date, study_uid);
CREATE INDEX study_by_patient ON study (patient_id);
CREATE INDEX study_by_accession ON study (accession_number);

-- Every spelling of the patient's name: alphabetic, ideographic, phonetic, all three; without case and accents.
CREATE TABLE patient_name (
  study_uid TEXT NOT NULL REFERENCES study ON DELETE CASCADE,
  name TEXT NOT NULL
);
CREATE INDEX patient_name_by_name ON patient_name (name);
CREATE INDEX patient_name_by_study ON patient_name (study_uid);

CREATE TABLE series (
  study_uid TEXT NOT NULL REFERENCES study ON DELETE CASCADE,
  series_uid TEXT NOT NULL,
  modality TEXT NOT NULL DEFAULT '',
  series_number INTEGER,
  attributes BLOB NOT NULL,
  PRIMARY KEY (study_uid, series_uid)
) WITHOUT ROWID;
CREATE INDEX series_by_uid ON series (series_uid);
CREATE INDEX series_by_modality ON series (modality);

-- spans: 24 bytes each, little endian: frame_number u32, offset u64, length u64, crc32 u32.
CREATE TABLE instance (
  id INTEGER PRIMARY KEY,
  study_uid TEXT NOT NULL,
  series_uid TEXT NOT NULL,
  sop_uid TEXT NOT NULL UNIQUE,
  sop_class_uid TEXT NOT NULL,
  transfer_syntax TEXT NOT NULL,
  instance_number INTEGER,
  number_of_frames INTEGER NOT NULL,
  file TEXT NOT NULL,
  size_bytes INTEGER NOT NULL,
  data_set_offset INTEGER NOT NULL,
  pixel_data_offset INTEGER,
  digest BLOB NOT NULL,
  spans BLOB NOT NULL,
  attributes BLOB NOT NULL,
  kept_at REAL NOT NULL,
  FOREIGN KEY (study_uid, series_uid) REFERENCES series ON DELETE CASCADE
);
CREATE INDEX instance_by_series ON instance (study_uid, series_uid, instance_number);

-- Same SOP Instance UID, other bytes: kept aside for a human, never served (promise P5).
CREATE TABLE set_aside (
  id INTEGER PRIMARY KEY,
  sop_uid TEXT NOT NULL,
  file TEXT NOT NULL UNIQUE,
  digest BLOB NOT NULL,
  transfer_syntax TEXT NOT NULL,
  seen_at REAL NOT NULL
);

-- The reports that arrived, and what is owed to the DMP because of them.
CREATE TABLE report (
  id INTEGER PRIMARY KEY,
  message_id TEXT NOT NULL,
  digest BLOB NOT NULL,
  fields BLOB NOT NULL,
  message BLOB NOT NULL,
  cda BLOB NOT NULL,
  arrived_at REAL NOT NULL,
  UNIQUE (message_id, digest)
);

CREATE TABLE job (
  id INTEGER PRIMARY KEY,
  study_uid TEXT NOT NULL,
  report_id INTEGER NOT NULL REFERENCES report,
  kind TEXT NOT NULL CHECK (kind IN ('publish', 'replace')),
  state TEXT NOT NULL CHECK (state IN ('due', 'leased', 'frozen', 'done', 'parked')),
  attempts INTEGER NOT NULL DEFAULT 0,
  last_error TEXT NOT NULL DEFAULT '',
  next_try REAL NOT NULL,
  leased_until REAL NOT NULL DEFAULT 0,
  unique_id TEXT NOT NULL DEFAULT '',
  set_uid TEXT NOT NULL DEFAULT '',
  entry_uuid TEXT NOT NULL DEFAULT '',
  structure TEXT NOT NULL DEFAULT '',
  manifest BLOB,
  metadata BLOB,
  created_at REAL NOT NULL,
  settled_at REAL
);
CREATE INDEX job_by_study ON job (study_uid, id);
CREATE INDEX job_by_state ON job (state, next_try);

-- Consultation: documents the DMP listed for a patient in context, and the studies on loan.
CREATE TABLE document (
  document_id TEXT PRIMARY KEY,
  in_context BLOB NOT NULL,
  listed_at REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE visit (
  visit_id TEXT PRIMARY KEY,
  study_uid TEXT NOT NULL,
  manifest BLOB NOT NULL,
  opened_at REAL NOT NULL,
  expires_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX visit_by_study ON visit (study_uid);
