"""The numbers of every step: smoothed, written down, read again for a curve, plotted."""
