"""Look-aside jobs: work on host memory that an engine does, from rings and back to them."""
