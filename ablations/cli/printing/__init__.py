"""What the command line prints. Facts come in as values; nothing is computed here."""
