-- oldest: 1
-- The attribute columns are those of service/dicom/attributes.py; where an attribute has several values,
-- its column holds the first and `more` all of them, as a JSON object of arrays by column name.
-- `source` is the instance whose attributes stand for its study or series: the one with the lowest row.

CREATE TABLE study (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    study_uid TEXT NOT NULL UNIQUE,
    study_date TEXT,
    study_time TEXT,
    accession_number TEXT,
    institution_name TEXT,
    referring_physician TEXT,
    referring_physician_ideographic TEXT,
    referring_physician_phonetic TEXT,
    study_description TEXT,
    patient_name TEXT,
    patient_name_ideographic TEXT,
    patient_name_phonetic TEXT,
    patient_id TEXT,
    issuer_of_patient_id TEXT,
    birth_date TEXT,
    sex TEXT,
    study_id TEXT,
    more TEXT,
    modalities TEXT NOT NULL DEFAULT '',
    series_count INTEGER NOT NULL DEFAULT 0,
    study_count INTEGER NOT NULL DEFAULT 0,
    source INTEGER NOT NULL DEFAULT 0,
    summary BLOB NOT NULL
) STRICT;
CREATE INDEX study_by_date ON study (study_date DESC, study_time DESC, study_uid);
CREATE INDEX study_by_patient_name ON study (patient_name) WHERE patient_name IS NOT NULL;
CREATE INDEX study_by_ideographic_name ON study (patient_name_ideographic)
    WHERE patient_name_ideographic IS NOT NULL;
CREATE INDEX study_by_phonetic_name ON study (patient_name_phonetic) WHERE patient_name_phonetic IS NOT NULL;
CREATE INDEX study_by_patient_id ON study (patient_id) WHERE patient_id IS NOT NULL;
CREATE INDEX study_by_accession_number ON study (accession_number) WHERE accession_number IS NOT NULL;
CREATE INDEX study_by_more ON study (more) WHERE more IS NOT NULL;

CREATE TABLE series (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    study INTEGER NOT NULL,
    series_uid TEXT NOT NULL,
    series_date TEXT,
    series_time TEXT,
    modality TEXT,
    manufacturer TEXT,
    station_name TEXT,
    series_description TEXT,
    department_name TEXT,
    performing_physician TEXT,
    performing_physician_ideographic TEXT,
    performing_physician_phonetic TEXT,
    model_name TEXT,
    body_part TEXT,
    protocol_name TEXT,
    series_number ANY,
    laterality TEXT,
    step_date TEXT,
    step_time TEXT,
    step_id TEXT,
    more TEXT,
    series_size INTEGER NOT NULL DEFAULT 0,
    source INTEGER NOT NULL DEFAULT 0,
    summary BLOB NOT NULL,
    -- what the JSON of the series' instances is compressed against; it outlives the instance it came from
    dictionary BLOB NOT NULL,
    UNIQUE (study, series_uid)
) STRICT;
CREATE INDEX series_by_uid ON series (series_uid);
CREATE INDEX series_by_modality ON series (study, modality);

CREATE TABLE instance (
    -- grows for ever, so that the sum and maximum of a resource's rows tell any change of it
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    series INTEGER NOT NULL,
    instance_uid TEXT NOT NULL,
    sop_class TEXT NOT NULL,
    syntax TEXT NOT NULL,
    image_type TEXT,
    content_date TEXT,
    content_time TEXT,
    acquired TEXT,
    instance_number ANY,
    frame_count ANY,
    pixel_rows ANY,
    pixel_columns ANY,
    bits_allocated ANY,
    content_label TEXT,
    concept_code TEXT,
    concept_scheme TEXT,
    concept_meaning TEXT,
    more TEXT,
    object_key TEXT NOT NULL,
    place TEXT NOT NULL,
    size INTEGER NOT NULL,
    digest BLOB NOT NULL,
    shape_rows INTEGER,
    shape_columns INTEGER,
    shape_samples INTEGER,
    shape_bits INTEGER,
    shape_frames INTEGER,
    shape_photometric TEXT,
    shape_stored INTEGER,
    shape_high_bit INTEGER,
    shape_signed INTEGER,
    shape_planar INTEGER,
    pixel_tag INTEGER,
    pixel_vr TEXT,
    pixel_offset INTEGER,
    pixel_length INTEGER,
    pixel_encapsulated INTEGER,
    data_offset INTEGER NOT NULL,
    head_fits INTEGER NOT NULL,
    table_length INTEGER,
    summary BLOB NOT NULL,
    json BLOB NOT NULL,
    findings TEXT,
    UNIQUE (series, instance_uid)
) STRICT;
CREATE INDEX instance_by_uid ON instance (instance_uid);
CREATE INDEX instance_by_object ON instance (object_key);

-- How many instances of each class a series has.
CREATE TABLE series_class (
    study INTEGER NOT NULL,
    series INTEGER NOT NULL,
    sop_class TEXT NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (study, series, sop_class)
) STRICT, WITHOUT ROWID;

-- The items of Request Attributes Sequence (0040,0275).
CREATE TABLE request (
    id INTEGER PRIMARY KEY,
    series INTEGER NOT NULL,
    step_id TEXT,
    procedure_id TEXT
) STRICT;
CREATE INDEX request_by_series ON request (series);
CREATE INDEX request_by_step ON request (step_id) WHERE step_id IS NOT NULL;
CREATE INDEX request_by_procedure ON request (procedure_id) WHERE procedure_id IS NOT NULL;

-- Frame tables in pages of one size, so that each frame is as near as the first: `id` is
-- instance * 2^20 + page, `offsets` the little endian u64 offsets of the page's frames and of the next one.
CREATE TABLE frame_page (
    id INTEGER PRIMARY KEY,
    offsets BLOB NOT NULL
) STRICT;

-- Objects that no row refers to any more and that are still to be deleted; `since` in Unix seconds.
CREATE TABLE doomed (
    id INTEGER PRIMARY KEY,
    object_key TEXT NOT NULL UNIQUE,
    since INTEGER NOT NULL
) STRICT;

-- What the planner should believe of an archive of a million studies, so that plans are those of a full one
-- from the first day: rows, then rows for each value of the columns of the index from the left.
ANALYZE sqlite_schema;
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
 ('study','sqlite_autoindex_study_1','1000000 1'),
 ('study','study_by_date','1000000 300 2 1'),
 ('study','study_by_patient_name','1000000 3'),
 ('study','study_by_ideographic_name','10000 3'),
 ('study','study_by_phonetic_name','10000 3'),
 ('study','study_by_patient_id','1000000 3'),
 ('study','study_by_accession_number','1000000 2'),
 ('study','study_by_more','1000 2'),
 ('series','sqlite_autoindex_series_1','4000000 4 1'),
 ('series','series_by_uid','4000000 1'),
 ('series','series_by_modality','4000000 4 2'),
 ('instance','sqlite_autoindex_instance_1','100000000 25 1'),
 ('instance','instance_by_uid','100000000 1'),
 ('instance','instance_by_object','100000000 1'),
 ('request','request_by_series','1000000 2'),
 ('request','request_by_step','1000000 2'),
 ('request','request_by_procedure','1000000 2');
ANALYZE sqlite_schema;
