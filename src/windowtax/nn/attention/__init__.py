"""What each attention kind computes; the declaration lies in spec/attention under the same name."""
