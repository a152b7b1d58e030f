"""Models and hardware as data files, and one reader per model family: names and configs become specs."""
