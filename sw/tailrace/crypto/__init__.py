"""The cipher engine: keys, AES-GCM, AES-XTS, TLS 1.3 records."""
