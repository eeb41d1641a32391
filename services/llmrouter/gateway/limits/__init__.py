"""How much callers may ask for and spend: rules, counters, reservations and where they are kept."""
