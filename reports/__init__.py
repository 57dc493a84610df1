"""Recorded runs -> tables, figures, claims, one HTML page. Never imports torch or ray."""
