"""The catalogue: products, their pictures and reviews, on MongoDB."""
