"""The networks of the paper: plain, and residual with options A, B and C. No file, no cluster, no config object."""
