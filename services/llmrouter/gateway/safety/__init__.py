"""What callers and models may say: texts cleaned, and secrets and personal data looked for."""
