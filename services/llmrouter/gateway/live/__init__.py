"""The live page: what the suite does now, for people without dashboards."""
