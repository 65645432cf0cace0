"""Pure numbers: the metrics of the tables."""
