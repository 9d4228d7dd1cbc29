"""Data sets read: published ones, tables of pairs, our own shards; loader, cache of states, imports, exports."""
