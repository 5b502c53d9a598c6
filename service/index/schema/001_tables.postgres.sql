-- oldest: 1
-- The attribute columns are those of service/dicom/attributes.py; where an attribute has several values,
-- its column holds the first and `more` all of them, as a JSON object of arrays by column name. `zone` is
-- the time zone of an object's dates and times in minutes east of UTC, NULL where it tells none.
-- `source` is the instance whose attributes stand for its study or series: the one with the lowest row.
-- Texts are ordered by their code points (COLLATE "C"), as they are everywhere else.
-- Rows of study and series are rewritten as counts are folded, for which their pages have room.

-- What there is one of: the era of the index, and the row that is locked by who folds counts.
CREATE TABLE state (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO state VALUES ('fold', 0);

CREATE SEQUENCE study_row;
CREATE TABLE study (
    id BIGINT PRIMARY KEY DEFAULT nextval('study_row'),
    study_uid TEXT COLLATE "C" NOT NULL UNIQUE,
    study_date TEXT COLLATE "C",
    study_time TEXT COLLATE "C",
    accession_number TEXT COLLATE "C",
    institution_name TEXT COLLATE "C",
    referring_physician TEXT COLLATE "C",
    referring_physician_ideographic TEXT COLLATE "C",
    referring_physician_phonetic TEXT COLLATE "C",
    study_description TEXT COLLATE "C",
    patient_name TEXT COLLATE "C",
    patient_name_ideographic TEXT COLLATE "C",
    patient_name_phonetic TEXT COLLATE "C",
    patient_id TEXT COLLATE "C",
    issuer_of_patient_id TEXT COLLATE "C",
    birth_date TEXT COLLATE "C",
    sex TEXT COLLATE "C",
    study_id TEXT COLLATE "C",
    zone INTEGER,
    more TEXT COLLATE "C",
    modalities TEXT COLLATE "C" NOT NULL DEFAULT '',
    series_count INTEGER NOT NULL DEFAULT 0,
    study_count INTEGER NOT NULL DEFAULT 0,
    source BIGINT NOT NULL DEFAULT 0,
    summary BYTEA NOT NULL
) WITH (fillfactor = 85);
CREATE INDEX study_by_date ON study (study_date DESC NULLS LAST, study_time DESC NULLS LAST, study_uid);
CREATE INDEX study_by_patient_name ON study (patient_name) WHERE patient_name IS NOT NULL;
CREATE INDEX study_by_ideographic_name ON study (patient_name_ideographic)
    WHERE patient_name_ideographic IS NOT NULL;
CREATE INDEX study_by_phonetic_name ON study (patient_name_phonetic) WHERE patient_name_phonetic IS NOT NULL;
CREATE INDEX study_by_patient_id ON study (patient_id) WHERE patient_id IS NOT NULL;
CREATE INDEX study_by_accession_number ON study (accession_number) WHERE accession_number IS NOT NULL;
CREATE INDEX study_by_more ON study (id) WHERE more IS NOT NULL;

CREATE SEQUENCE series_row;
CREATE TABLE series (
    id BIGINT PRIMARY KEY DEFAULT nextval('series_row'),
    study BIGINT NOT NULL,
    series_uid TEXT COLLATE "C" NOT NULL,
    series_date TEXT COLLATE "C",
    series_time TEXT COLLATE "C",
    modality TEXT COLLATE "C",
    manufacturer TEXT COLLATE "C",
    station_name TEXT COLLATE "C",
    series_description TEXT COLLATE "C",
    department_name TEXT COLLATE "C",
    performing_physician TEXT COLLATE "C",
    performing_physician_ideographic TEXT COLLATE "C",
    performing_physician_phonetic TEXT COLLATE "C",
    model_name TEXT COLLATE "C",
    body_part TEXT COLLATE "C",
    protocol_name TEXT COLLATE "C",
    series_number NUMERIC,
    laterality TEXT COLLATE "C",
    step_date TEXT COLLATE "C",
    step_time TEXT COLLATE "C",
    step_id TEXT COLLATE "C",
    zone INTEGER,
    more TEXT COLLATE "C",
    series_size INTEGER NOT NULL DEFAULT 0,
    source BIGINT NOT NULL DEFAULT 0,
    summary BYTEA NOT NULL,
    -- what the JSON of the series' instances is compressed against; it outlives the instance it came from
    dictionary BYTEA NOT NULL,
    UNIQUE (study, series_uid)
) WITH (fillfactor = 85);
ALTER TABLE series ALTER COLUMN dictionary SET STORAGE EXTERNAL; -- compressed already
CREATE INDEX series_by_uid ON series (series_uid);
CREATE INDEX series_by_modality ON series (study, modality);

-- Grows for ever, so that the sum and maximum of a resource's rows tell any change of it.
CREATE SEQUENCE instance_row;
CREATE TABLE instance (
    id BIGINT PRIMARY KEY DEFAULT nextval('instance_row'),
    series BIGINT NOT NULL,
    instance_uid TEXT COLLATE "C" NOT NULL,
    sop_class TEXT COLLATE "C" NOT NULL,
    syntax TEXT COLLATE "C" NOT NULL,
    image_type TEXT COLLATE "C",
    content_date TEXT COLLATE "C",
    content_time TEXT COLLATE "C",
    acquired TEXT COLLATE "C",
    instance_number NUMERIC,
    frame_count NUMERIC,
    pixel_rows NUMERIC,
    pixel_columns NUMERIC,
    bits_allocated NUMERIC,
    content_label TEXT COLLATE "C",
    concept_code TEXT COLLATE "C",
    concept_scheme TEXT COLLATE "C",
    concept_meaning TEXT COLLATE "C",
    zone INTEGER,
    more TEXT COLLATE "C",
    object_key TEXT COLLATE "C" NOT NULL,
    place TEXT COLLATE "C" NOT NULL,
    size BIGINT NOT NULL,
    digest BYTEA NOT NULL,
    shape_rows BIGINT,
    shape_columns BIGINT,
    shape_samples INTEGER,
    shape_bits INTEGER,
    shape_frames BIGINT,
    shape_photometric TEXT COLLATE "C",
    shape_stored INTEGER,
    shape_high_bit INTEGER,
    shape_signed INTEGER,
    shape_planar INTEGER,
    pixel_tag BIGINT,
    pixel_vr TEXT COLLATE "C",
    pixel_offset BIGINT,
    pixel_length BIGINT,
    pixel_encapsulated INTEGER,
    data_offset BIGINT NOT NULL,
    head_fits INTEGER NOT NULL,
    table_length INTEGER,
    summary BYTEA NOT NULL,
    json BYTEA NOT NULL,
    findings TEXT COLLATE "C",
    -- little endian u64 offsets of each frame and of the end, of which any part is read without the rest
    frame_table BYTEA,
    UNIQUE (series, instance_uid)
);
ALTER TABLE instance ALTER COLUMN json SET STORAGE EXTERNAL;
ALTER TABLE instance ALTER COLUMN frame_table SET STORAGE EXTERNAL;
CREATE INDEX instance_by_uid ON instance (instance_uid);
CREATE INDEX instance_by_object ON instance (object_key);

-- What was added to or taken from a series since its counts and those of its study were last brought up to
-- date: writers append, and never wait for one another's counts.
CREATE SEQUENCE arrival_row;
CREATE TABLE arrival (
    id BIGINT PRIMARY KEY DEFAULT nextval('arrival_row'),
    study BIGINT NOT NULL,
    series BIGINT NOT NULL,
    change INTEGER NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX arrival_by_study ON arrival (study);
CREATE INDEX arrival_by_series ON arrival (series);

-- The classes of which a series has instances.
CREATE TABLE series_class (
    study BIGINT NOT NULL,
    series BIGINT NOT NULL,
    sop_class TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (study, series, sop_class)
);

-- The items of Request Attributes Sequence (0040,0275).
CREATE SEQUENCE request_row;
CREATE TABLE request (
    id BIGINT PRIMARY KEY DEFAULT nextval('request_row'),
    series BIGINT NOT NULL,
    step_id TEXT COLLATE "C",
    procedure_id TEXT COLLATE "C"
);
CREATE INDEX request_by_series ON request (series);
CREATE INDEX request_by_step ON request (step_id) WHERE step_id IS NOT NULL;
CREATE INDEX request_by_procedure ON request (procedure_id) WHERE procedure_id IS NOT NULL;

-- Objects that no row refers to any more and that are still to be deleted; `since` in Unix seconds.
CREATE SEQUENCE doomed_row;
CREATE TABLE doomed (
    id BIGINT PRIMARY KEY DEFAULT nextval('doomed_row'),
    object_key TEXT COLLATE "C" NOT NULL UNIQUE,
    since BIGINT NOT NULL
);

-- A moment written in the zone `own`, as it is in the zone that lies `minutes` east of it; NULL where the
-- calendar has no such moment. Dates are YYYYMMDD and times HHMMSS.FFFFFF.
CREATE FUNCTION moved(day TEXT, hour TEXT, minutes INTEGER) RETURNS TIMESTAMP
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    year INTEGER := substr(day, 1, 4);
    month INTEGER := substr(day, 5, 2);
    first DATE;
    moment TIMESTAMP;
BEGIN
    IF year < 1 OR month NOT BETWEEN 1 AND 12 THEN
        RETURN NULL;
    END IF;
    first := make_date(year, month, 1);
    moment := first + (substr(day, 7, 2)::INTEGER - 1);
    IF date_trunc('month', moment) <> first THEN
        RETURN NULL;
    END IF;
    moment := moment + make_interval(
        hours => substr(hour, 1, 2)::INTEGER,
        mins => substr(hour, 3, 2)::INTEGER + minutes,
        secs => substr(hour, 5)::DOUBLE PRECISION
    );
    RETURN CASE WHEN moment >= '0001-01-01' AND moment < '10000-01-01' THEN moment END;
END $$;

-- The date of a moment written in the zone `own`, as the zone `zone` has it. Without a time of day, or
-- without a zone of its own, a date stays as it is written.
CREATE FUNCTION zoned_date(day TEXT, hour TEXT, own INTEGER, zone INTEGER) RETURNS TEXT
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN day IS NULL OR hour IS NULL OR own IS NULL OR own = zone THEN day
        ELSE coalesce(to_char(moved(day, hour, zone - own), 'YYYYMMDD'), day)
    END
$$;

-- The time of day of a moment written in the zone `own`, as the zone `zone` has it.
CREATE FUNCTION zoned_time(day TEXT, hour TEXT, own INTEGER, zone INTEGER) RETURNS TEXT
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN hour IS NULL OR own IS NULL OR own = zone THEN hour
        ELSE coalesce(to_char(moved(coalesce(day, '20000101'), hour, zone - own), 'HH24MISS.US'), hour)
    END
$$;

-- Parts of names are found by their trigrams where the database has that extension or lets us have it;
-- elsewhere the studies are walked by date.
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
EXCEPTION WHEN OTHERS THEN
    NULL;
END $$;
DO $$
BEGIN
    CREATE INDEX study_by_part_of_name ON study USING gin (
        patient_name gin_trgm_ops,
        patient_name_ideographic gin_trgm_ops,
        patient_name_phonetic gin_trgm_ops
    );
EXCEPTION WHEN undefined_object OR feature_not_supported THEN
    NULL;
END $$;

