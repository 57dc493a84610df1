"""Clusters that are elsewhere: reach them, see what is wrong with them, and send them a study as a job."""
