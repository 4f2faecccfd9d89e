"""How many units of a product anybody could reserve now, cached in Redis; never asked by a reservation."""
