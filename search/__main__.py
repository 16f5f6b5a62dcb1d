"""`python -m search COMMAND` does what `sieve COMMAND` does, where the script `sieve` is not on the shell's path."""

import sys

from search.main import main

if __name__ == "__main__":
    sys.exit(main())
