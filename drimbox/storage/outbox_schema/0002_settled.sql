-- Which exams reached the DMP in a stretch of time, without reading their manifests.
CREATE INDEX job_settled ON job (settled_at, study_uid) WHERE state = 'done' AND kind <> 'withdraw';
