"""Job queues: work for the look-aside engine, by rings in host memory."""
