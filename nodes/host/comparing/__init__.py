"""Settings and LoRAs side by side: sweeps, the learning-rate finder, sheets of LoRAs."""
