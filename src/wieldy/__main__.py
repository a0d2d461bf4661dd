"""`python -m wieldy`, which is also how torchrun starts it."""

from wieldy.cli.main import main

if __name__ == "__main__":
    main()
