import sys

from dpm_lib.cli import main

sys.exit(main())
