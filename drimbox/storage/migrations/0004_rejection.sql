-- Instances taken out of use by a rejection note (IHE RAD IOCM): kept, never shown. A note has a row for itself as well.
-- restored_at: it was sent again after its retention had expired, and is shown again.
CREATE TABLE rejected (
  id INTEGER PRIMARY KEY,
  study_uid TEXT NOT NULL,
  series_uid TEXT NOT NULL,
  sop_uid TEXT NOT NULL,
  note_uid TEXT NOT NULL,
  title TEXT NOT NULL,
  rejected_at REAL NOT NULL,
  restored_at REAL,
  UNIQUE (sop_uid, note_uid)
);
CREATE INDEX rejected_by_series ON rejected (study_uid, series_uid);
