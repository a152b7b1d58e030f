"""Documents to plain text: files, folders, standard input and HTML, with nothing skipped or re-coded in silence; and
long texts that every Python carries, so that a long prompt can be made without a network."""
