"""Data sets of photographs, ImageNet and any other of class folders: prepared once, then read by every trial."""
