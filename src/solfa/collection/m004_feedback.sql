-- verdict  what a person said of a track: `sought` is what was searched for (JSON), `space` where it was found; all are kept
-- head     the linear map that was learnt for the vectors of the space `base`: where it leads, how it was evaluated (JSON)

CREATE TABLE verdict (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    track_id INTEGER NOT NULL REFERENCES track (id) ON DELETE CASCADE,
    is_good INTEGER NOT NULL,
    sought TEXT NOT NULL,
    space TEXT NOT NULL,
    time_s REAL NOT NULL
);
CREATE TABLE head (
    id INTEGER PRIMARY KEY,
    base TEXT NOT NULL UNIQUE,
    space TEXT NOT NULL,
    weights BLOB NOT NULL,
    crc INTEGER NOT NULL,
    report TEXT NOT NULL
);
