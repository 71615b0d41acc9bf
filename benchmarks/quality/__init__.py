"""Does one pass end where batch EM would? Kinds of streams, seeds by the dozen, and the figures of each."""
