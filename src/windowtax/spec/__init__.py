"""What a model, a cache, a chip and a workload are: frozen data and exact arithmetic, without torch."""
