"""``python -m fastsim.cli``: the command line where the script is not on the path."""

import sys

from fastsim.cli import main

sys.exit(main())
