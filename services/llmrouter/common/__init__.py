"""What every service shares: domain types, errors, wire conversion, server bootstrap, settings."""
