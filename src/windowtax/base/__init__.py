"""Units, errors, registries, sourced numbers and strict reading: what every other room may lean on."""
