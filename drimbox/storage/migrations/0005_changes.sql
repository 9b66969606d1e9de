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

-- The feed of changes (feed.py). Arrivals are the rows of instance themselves: their ids are in order of arrival. Here is
-- what else happened. after_id: the highest id an instance had until then.
CREATE TABLE change (
  id INTEGER PRIMARY KEY,
  after_id INTEGER NOT NULL,
  kind TEXT NOT NULL,
  study_uid TEXT NOT NULL,
  series_uid TEXT NOT NULL,
  sop_uid TEXT NOT NULL,
  at REAL NOT NULL
);

CREATE TRIGGER instance_rejected AFTER INSERT ON rejected WHEN NEW.sop_uid <> NEW.note_uid BEGIN
  INSERT INTO change (after_id, kind, study_uid, series_uid, sop_uid, at) VALUES (
    (SELECT coalesce(max(id), 0) FROM instance), iif(NEW.title = 'removed', 'removed', 'rejected'),
    NEW.study_uid, NEW.series_uid, NEW.sop_uid, NEW.rejected_at
  );
END;
CREATE TRIGGER instance_restored AFTER UPDATE OF restored_at ON rejected
WHEN OLD.restored_at IS NULL AND NEW.restored_at IS NOT NULL BEGIN
  INSERT INTO change (after_id, kind, study_uid, series_uid, sop_uid, at) VALUES (
    (SELECT coalesce(max(id), 0) FROM instance), 'restored', NEW.study_uid, NEW.series_uid, NEW.sop_uid, NEW.restored_at
  );
END;
-- Of one that was set aside only its UID is told, as it is kept: what else its bytes claim was never indexed.
CREATE TRIGGER instance_set_aside AFTER INSERT ON set_aside BEGIN
  INSERT INTO change (after_id, kind, study_uid, series_uid, sop_uid, at) VALUES (
    (SELECT coalesce(max(id), 0) FROM instance), 'set aside',
    coalesce((SELECT study_uid FROM instance WHERE sop_uid = NEW.sop_uid), ''),
    coalesce((SELECT series_uid FROM instance WHERE sop_uid = NEW.sop_uid), ''),
    NEW.sop_uid, NEW.seen_at
  );
END;

-- name: of this index; one that is made again has other ids, and another name. highest: id of an instance that is gone.
CREATE TABLE feed (
  name TEXT NOT NULL,
  highest INTEGER NOT NULL
);
INSERT INTO feed VALUES (lower(hex(randomblob(8))), 0);

-- SQLite gives the id of the newest instance again when that one is gone: a reader of the feed would miss the next.
CREATE TRIGGER newest_instance_went AFTER DELETE ON instance
WHEN OLD.id > (SELECT coalesce(max(id), 0) FROM instance) BEGIN
  UPDATE feed SET highest = max(highest, OLD.id);
END;
CREATE TRIGGER instance_numbered AFTER INSERT ON instance WHEN NEW.id <= (SELECT highest FROM feed) BEGIN
  UPDATE instance SET id = (SELECT highest FROM feed) + 1 WHERE id = NEW.id;
END;
