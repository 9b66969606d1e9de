-- Of each series, a name of what it holds now: another one after every instance that came, went or changed. The metadata
-- written for it are good as long as it has that name (storage/metadata.py). Triggers, so that no path can forget it.
ALTER TABLE series ADD COLUMN revision BLOB NOT NULL DEFAULT x'';
-- Since when its metadata are to be written; NULL once they were. Those of an older index are written on demand.
ALTER TABLE series ADD COLUMN changed_at REAL;
CREATE INDEX series_by_change ON series (changed_at) WHERE changed_at IS NOT NULL;
UPDATE series SET revision = randomblob(8);

CREATE TRIGGER series_gained AFTER INSERT ON instance BEGIN
  UPDATE series SET revision = randomblob(8), changed_at = unixepoch('subsec')
  WHERE study_uid = NEW.study_uid AND series_uid = NEW.series_uid;
END;
CREATE TRIGGER series_lost AFTER DELETE ON instance BEGIN
  UPDATE series SET revision = randomblob(8), changed_at = unixepoch('subsec')
  WHERE study_uid = OLD.study_uid AND series_uid = OLD.series_uid;
END;
CREATE TRIGGER series_changed AFTER UPDATE OF study_uid, series_uid, sop_uid, digest ON instance BEGIN
  UPDATE series SET revision = randomblob(8), changed_at = unixepoch('subsec')
  WHERE (study_uid = NEW.study_uid AND series_uid = NEW.series_uid)
  OR (study_uid = OLD.study_uid AND series_uid = OLD.series_uid);
END;

-- What is rejected is no longer shown, and what is restored is again.
CREATE TRIGGER series_hid AFTER INSERT ON rejected BEGIN
  UPDATE series SET revision = randomblob(8), changed_at = unixepoch('subsec')
  WHERE study_uid = NEW.study_uid AND series_uid = NEW.series_uid;
END;
CREATE TRIGGER series_hid_or_showed AFTER UPDATE ON rejected BEGIN
  UPDATE series SET revision = randomblob(8), changed_at = unixepoch('subsec')
  WHERE study_uid = NEW.study_uid AND series_uid = NEW.series_uid;
END;
CREATE TRIGGER series_showed AFTER DELETE ON rejected BEGIN
  UPDATE series SET revision = randomblob(8), changed_at = unixepoch('subsec')
  WHERE study_uid = OLD.study_uid AND series_uid = OLD.series_uid;
END;

-- Series that are no more, whose metadata have yet to be removed.
CREATE TABLE series_gone (
  study_uid TEXT NOT NULL,
  series_uid TEXT NOT NULL,
  PRIMARY KEY (study_uid, series_uid)
) WITHOUT ROWID;
CREATE TRIGGER series_went AFTER DELETE ON series BEGIN
  INSERT OR IGNORE INTO series_gone (study_uid, series_uid) VALUES (OLD.study_uid, OLD.series_uid);
END;
