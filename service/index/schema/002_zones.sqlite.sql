-- oldest: 1
-- The time zone of an object's dates and times, in minutes east of UTC; NULL where the object tells none,
-- and in rows made before this step, whose dates and times are matched as they are written.

ALTER TABLE study ADD COLUMN zone INTEGER;
ALTER TABLE series ADD COLUMN zone INTEGER;
ALTER TABLE instance ADD COLUMN zone INTEGER;
