"""What ``python -m dpm_lib`` runs: the command line."""

import sys

from dpm_lib.cli import main

sys.exit(main())
