"""`python -m octshard`."""

from octshard.cli.main import main

if __name__ == "__main__":
    main()
