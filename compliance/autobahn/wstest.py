"""Starts the suite under Python 2.7 from a directory that pip filled: wstest.py DIRECTORY ARGUMENTS..."""

import site
import sys

site.addsitedir(sys.argv.pop(1))
from autobahntestsuite.wstest import run

run()
