"""What the product service decides: documents, words, prices, reviews, pictures."""
