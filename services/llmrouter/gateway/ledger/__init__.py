"""What requests cost: one row each, sums by day, and what is made of them."""
