-- How many instances a study has, counted as they come and go: a page of a hundred studies would else count them all.
ALTER TABLE study ADD COLUMN instances INTEGER NOT NULL DEFAULT 0;
UPDATE study SET instances = (SELECT count(*) FROM instance i WHERE i.study_uid = study.study_uid);
CREATE TRIGGER instance_came AFTER INSERT ON instance BEGIN
  UPDATE study SET instances = instances + 1 WHERE study_uid = NEW.study_uid;
END;
CREATE TRIGGER instance_went AFTER DELETE ON instance BEGIN
  UPDATE study SET instances = instances - 1 WHERE study_uid = OLD.study_uid;
END;
CREATE INDEX study_by_id ON study (study_id);

-- What happened besides arrivals, which are the rows of instance themselves: their ids are in order of arrival.
-- after_id: the highest id an instance had until then. It never goes down.
CREATE TABLE change (
  id INTEGER PRIMARY KEY,
  after_id INTEGER NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('set aside', 'removed')),
  study_uid TEXT NOT NULL,
  series_uid TEXT NOT NULL,
  sop_uid TEXT NOT NULL,
  at REAL NOT NULL
);

-- Which index the ids are of: one that was made again from the files has other ids, and another name.
CREATE TABLE feed (name TEXT NOT NULL);
INSERT INTO feed VALUES (lower(hex(randomblob(8))));

-- SQLite gives the id of the newest instance again when that one is gone: a reader of the feed would miss the next.
CREATE TRIGGER instance_numbered AFTER INSERT ON instance
WHEN NEW.id <= (SELECT after_id FROM change ORDER BY id DESC LIMIT 1) BEGIN
  UPDATE instance SET id = (SELECT after_id FROM change ORDER BY id DESC LIMIT 1) + 1 WHERE id = NEW.id;
END;
