"""What a price list, or a latency curve, says of the cache of the model behind it: intervals, rivals, a back-test."""
