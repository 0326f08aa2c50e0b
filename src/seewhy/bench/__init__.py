"""The benchmark: networks x datasets x methods x metrics, from one core to a cluster."""
