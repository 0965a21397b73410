"""`python -IS part.py MODULE ARGUMENTS...`: a helper of ours as a process of its own. See `preload.command_of`."""

import sys
from importlib import import_module

sys.path.insert(0, __file__.rpartition("/inception/")[0])
sys.exit(import_module(sys.argv[1]).main(sys.argv[2:]))
