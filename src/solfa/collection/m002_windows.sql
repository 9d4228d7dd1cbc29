-- Spaces know their windows and the model that made them; `counts` are the frames of each window, uint32.

ALTER TABLE space ADD COLUMN window_s REAL NOT NULL DEFAULT 0;
ALTER TABLE space ADD COLUMN model TEXT NOT NULL DEFAULT '';
ALTER TABLE space ADD COLUMN allow_noncommercial INTEGER NOT NULL DEFAULT 0;
ALTER TABLE space ADD COLUMN last_run INTEGER NOT NULL DEFAULT 0;
ALTER TABLE vector ADD COLUMN counts BLOB NOT NULL DEFAULT x'';
