-- oldest: 1
-- The documents of a series in one piece, made ready beforehand. `generation` tells of which instances it is:
-- where they are others by then, it is of no use and is passed over. `form` is how `content` is written.
-- A program that knows nothing of bundles only makes them out of date, or drops them by taking out instances.

CREATE TABLE bundle (
    series INTEGER PRIMARY KEY,
    generation TEXT NOT NULL,
    form INTEGER NOT NULL,
    content BLOB NOT NULL
) STRICT;

-- What is deleted stands nowhere any more.
CREATE TRIGGER bundle_of_deleted AFTER DELETE ON instance BEGIN
    DELETE FROM bundle WHERE series = OLD.series;
END;
