"""`python -m letterloom` is the command `letterloom`."""

import sys

from letterloom.cli import main

if __name__ == "__main__":
    sys.exit(main())
