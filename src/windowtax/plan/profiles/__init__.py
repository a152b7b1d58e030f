"""Engine profiles, one file each: what an engine allocates for what a CacheLayout declares."""
