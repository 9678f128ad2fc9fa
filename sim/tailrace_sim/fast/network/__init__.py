"""What a port of the fast backend can be connected to outside the simulation."""
