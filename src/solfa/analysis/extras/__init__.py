"""Analysis tools of others behind the extractor protocol: optional packages, each with its own licence.

None is a default; each is named by who wants it (``analysis.registry``). They read whole tracks, as their authors
meant them to, so memory grows with the track here; ``base.LONGEST_S`` is the limit.
"""
