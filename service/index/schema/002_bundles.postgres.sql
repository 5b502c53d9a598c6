-- oldest: 1
-- The documents of a series in one piece, made ready beforehand. `generation` tells of which instances it is:
-- where they are others by then, it is of no use and is passed over. `form` is how `content` is written.
-- A program that knows nothing of bundles only makes them out of date, or drops them by taking out instances.

CREATE TABLE bundle (
    series BIGINT PRIMARY KEY,
    generation TEXT COLLATE "C" NOT NULL,
    form INTEGER NOT NULL,
    content BYTEA NOT NULL
);
ALTER TABLE bundle ALTER COLUMN content SET STORAGE EXTERNAL; -- compressed already

-- What is deleted stands nowhere any more. Who keeps a bundle shares the lock of its series, which who deletes
-- instances holds alone, so that none is kept behind his back.
CREATE FUNCTION drop_bundles() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM bundle WHERE series IN (SELECT DISTINCT series FROM gone);
    RETURN NULL;
END $$;
CREATE TRIGGER bundle_of_deleted AFTER DELETE ON instance
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION drop_bundles();
