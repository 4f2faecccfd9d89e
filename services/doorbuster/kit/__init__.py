"""Technology without a business noun: what two or more services need now."""
