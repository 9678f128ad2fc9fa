"""AES-GCM and AES-XTS at the width of the datapath, with a key table in hardware."""
