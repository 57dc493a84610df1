"""The data sets: what is known of each without reading it, how it is read, and how a batch is made from it."""
