"""Starts the suite under Python 2.7 from a directory that pip filled: wstest.py DIRECTORY ARGUMENTS...

AUTOBAHN_MESSAGES: how many messages each compression case sends instead of its 1,000, where there is no time for all.
"""

import os
import site
import sys

site.addsitedir(sys.argv.pop(1))
from autobahntestsuite import case
from autobahntestsuite.wstest import run

if "AUTOBAHN_MESSAGES" in os.environ:
    for each in case.Case12_X_X + case.Case13_X_X:
        each.COUNT = int(os.environ["AUTOBAHN_MESSAGES"])
run()
