"""Reading and writing volumes: formats, geometry, HU, resampling."""
