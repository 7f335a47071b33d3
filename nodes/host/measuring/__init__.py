"""Losses measured on a MODEL without training it: with LoRAs put on for a while. Imports `dataset` and `lora`."""
