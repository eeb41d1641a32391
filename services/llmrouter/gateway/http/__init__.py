"""The gateway over HTTP, in the forms of OpenAI's API: existing programs work unchanged."""
