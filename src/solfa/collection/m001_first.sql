-- track      one decoded content and what filters ask of it; `present` 1 while a present file holds it (by trigger)
-- scoring    what scoring all tracks reads, packed by records.py; apart so that scans of `track` stay short
-- layout     which concepts the confidences of a `scoring` row belong to: a JSON list of ids
-- document   the whole analysis as compressed JSON
-- timeline   what detailed scoring of a candidate reads: chords, spans, energy, as packed arrays
-- heard      concepts with confidence >= core.filters.PRESENT, for filters
-- name       texts that the arrays of a timeline refer to by number (concepts, chord labels)
-- file       a path that holds a track, what its tags say; `present` 0 once it is gone (the analysis stays)
-- space      an embedding space: `generation` numbers its files, *_rows is how much of them is committed
-- vector     where a track's rows lie in the files of a space, and the CRC-32 of both ranges

CREATE TABLE track (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    hash TEXT NOT NULL UNIQUE,
    present INTEGER NOT NULL DEFAULT 0,
    duration_s REAL NOT NULL,
    analysis_version TEXT NOT NULL,
    tempo_bpm REAL,
    key TEXT,
    metre TEXT,
    loudness_lufs REAL
);
CREATE TABLE layout (
    id INTEGER PRIMARY KEY,
    concepts TEXT NOT NULL UNIQUE
);
CREATE TABLE scoring (
    track_id INTEGER PRIMARY KEY REFERENCES track (id) ON DELETE CASCADE,
    layout_id INTEGER NOT NULL REFERENCES layout (id),
    summary BLOB NOT NULL,
    confidences BLOB NOT NULL,
    progression BLOB NOT NULL
);
CREATE TABLE document (
    track_id INTEGER PRIMARY KEY REFERENCES track (id) ON DELETE CASCADE,
    analysis BLOB NOT NULL
);
CREATE TABLE timeline (
    track_id INTEGER PRIMARY KEY REFERENCES track (id) ON DELETE CASCADE,
    chords BLOB NOT NULL,
    spans BLOB NOT NULL,
    energy BLOB NOT NULL,
    energy_hop_s REAL NOT NULL
);
CREATE TABLE heard (
    concept TEXT NOT NULL,
    track_id INTEGER NOT NULL REFERENCES track (id) ON DELETE CASCADE,
    PRIMARY KEY (concept, track_id)
) WITHOUT ROWID;
CREATE INDEX heard_by_track ON heard (track_id);
CREATE TABLE name (
    id INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE
);
CREATE TABLE file (
    id INTEGER PRIMARY KEY,
    path BLOB NOT NULL UNIQUE,
    track_id INTEGER NOT NULL REFERENCES track (id),
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    present INTEGER NOT NULL,
    title TEXT NOT NULL,
    artist TEXT NOT NULL,
    album TEXT NOT NULL,
    genre TEXT NOT NULL,
    date TEXT NOT NULL,
    comment TEXT NOT NULL,
    tag_tempo_bpm REAL,
    tag_key TEXT,
    title_folded TEXT NOT NULL,
    artist_folded TEXT NOT NULL,
    album_folded TEXT NOT NULL,
    genre_folded TEXT NOT NULL,
    comment_folded TEXT NOT NULL,
    path_folded TEXT NOT NULL,
    year INTEGER
);
CREATE INDEX file_by_track ON file (track_id, present);
CREATE TRIGGER file_comes AFTER INSERT ON file BEGIN
    UPDATE track SET present = EXISTS (SELECT 1 FROM file WHERE track_id = track.id AND present = 1)
    WHERE id = NEW.track_id;
END;
CREATE TRIGGER file_changes AFTER UPDATE OF track_id, present ON file BEGIN
    UPDATE track SET present = EXISTS (SELECT 1 FROM file WHERE track_id = track.id AND present = 1)
    WHERE id IN (OLD.track_id, NEW.track_id);
END;
CREATE TRIGGER file_goes AFTER DELETE ON file BEGIN
    UPDATE track SET present = EXISTS (SELECT 1 FROM file WHERE track_id = track.id AND present = 1)
    WHERE id = OLD.track_id;
END;
CREATE INDEX file_by_size ON file (size);
CREATE TABLE failure (
    path BLOB PRIMARY KEY,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    reason TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE space (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    dim INTEGER NOT NULL,
    hop_s REAL NOT NULL,
    generation INTEGER NOT NULL,
    segment_rows INTEGER NOT NULL,
    frame_rows INTEGER NOT NULL
);
CREATE TABLE vector (
    space_id INTEGER NOT NULL REFERENCES space (id) ON DELETE CASCADE,
    track_id INTEGER NOT NULL REFERENCES track (id) ON DELETE CASCADE,
    segment_at INTEGER NOT NULL,
    segments INTEGER NOT NULL,
    frame_at INTEGER NOT NULL,
    frames INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (space_id, track_id)
) WITHOUT ROWID;
CREATE VIRTUAL TABLE words USING fts5 (
    title, artist, album, genre, comment, path, tokenize = "unicode61 remove_diacritics 2"
);
