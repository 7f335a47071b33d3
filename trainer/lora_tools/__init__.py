"""Finished LoRAs made smaller, merged, scaled by block, and taken from two models: plain tensor maths."""
