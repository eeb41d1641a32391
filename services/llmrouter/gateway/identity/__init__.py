"""Who asks, by what they prove it, and what they may."""
