"""Emulated machines on this computer: `otterctl lab`; for programs `otter_ctl.lab.lab.Lab`."""
