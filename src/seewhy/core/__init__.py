"""One question to one network: the probe, its recorded pass, layers, rules and targets."""
