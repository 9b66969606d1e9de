-- What was told to the DMP, or given up, in a stretch of time: for the statistics, without reading manifests.
CREATE INDEX IF NOT EXISTS job_by_settled ON job (settled_at, kind, state, cause) WHERE settled_at IS NOT NULL;
