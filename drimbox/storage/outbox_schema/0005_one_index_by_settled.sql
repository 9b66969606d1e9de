-- `job_by_settled` finds the exams of a stretch of time too: a page a row, never a manifest.
DROP INDEX IF EXISTS job_settled;
