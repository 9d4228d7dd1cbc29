-- Files and spaces have a CRC-32 of what nothing else in a collection can be checked against (NULL: not known).

ALTER TABLE file ADD COLUMN crc INTEGER;
ALTER TABLE space ADD COLUMN crc INTEGER;
