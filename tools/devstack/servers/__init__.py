"""The real servers, one module each with a class that ends in ``Server``; found by listing."""
