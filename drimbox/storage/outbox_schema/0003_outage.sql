-- When the DMP last failed to answer for a job that is still to be sent, in seconds since 1970; 0 when it did not.
ALTER TABLE job ADD COLUMN unanswered_at REAL NOT NULL DEFAULT 0;
CREATE INDEX job_unanswered ON job (unanswered_at) WHERE unanswered_at > 0 AND state IN ('due', 'leased', 'frozen');
