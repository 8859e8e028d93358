"""The controller: topology, plan, and the `otterctl` command. Import-light on purpose."""
