"""The device in a slot of another program: a server of the vfio-user protocol."""
