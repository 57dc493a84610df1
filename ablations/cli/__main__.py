"""`python -m ablations.cli`, for where the program `ablate` is not on the path."""

from ablations.cli import main

if __name__ == "__main__":
    main()
