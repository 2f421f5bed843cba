"""
The services under the real systemd.
"""

from __future__ import annotations

import os
from unittest import skipIf

from ..processes import ProcessTestCase
from ..system_manager import SystemManager

UNITS = "docs/howto/"


@skipIf(os.geteuid(), "only root can have namespaces with a systemd in them")
class ServiceTests(ProcessTestCase):
    def test_it(self) -> None:
        manager = SystemManager(self)
        print(manager.systemctl("list-units", "--all"))
