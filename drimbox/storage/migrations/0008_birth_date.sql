-- When the patient was born, as match.py compares it, empty where that is not known: with a name this is what people are
-- looked for by, and to read it out of the attributes of each study took a second past 100,000 of them.
ALTER TABLE study ADD COLUMN birth_date TEXT NOT NULL DEFAULT '';
UPDATE study SET birth_date = replace(CAST(attributes AS TEXT) ->> '$.00100030.Value[0]', '.', '')
WHERE replace(CAST(attributes AS TEXT) ->> '$.00100030.Value[0]', '.', '')
  GLOB '[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]';
CREATE INDEX study_by_birth_date ON study (birth_date);
