-- Storage commitment: what a sender wants to be sure of, until it was told (PS3.4 annex J, promise P4).
-- instances: JSON, [SOP class, SOP instance] each. failures: JSON, Failure Reason by SOP instance; NULL until all of
-- them were read again from the medium.
CREATE TABLE commitment (
  id INTEGER PRIMARY KEY,
  ae_title TEXT NOT NULL,
  transaction_uid TEXT NOT NULL,
  instances BLOB NOT NULL,
  failures BLOB,
  attempts INTEGER NOT NULL DEFAULT 0,
  last_error TEXT NOT NULL DEFAULT '',
  next_try REAL NOT NULL,
  asked_at REAL NOT NULL,
  UNIQUE (ae_title, transaction_uid)
);
CREATE INDEX commitment_by_try ON commitment (next_try);
