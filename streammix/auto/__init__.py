"""A mixture that supervises itself: champion, experts, challengers, drift, K, outliers, warnings."""
